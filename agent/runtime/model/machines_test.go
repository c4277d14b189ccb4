package model

import (
	"context"
	"errors"
	"testing"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const vmID = "p.vm-1"

func spec() runtime.Spec {
	return runtime.Spec{
		ID: vmID, Project: "p", Placement: "vm-1", ImageDigest: "sha256:1", Volumes: map[string]runtime.Volume{"data": {}},
		VM: &skerryv1.VirtualMachine{Disks: []*skerryv1.Disk{{Name: "data", Volume: "data"}}},
	}
}

func newNode() *Driver {
	d := New(env.NewSystem().Clock)
	d.AddImage(runtime.StoredImage{Name: "disk", Digest: "sha256:1", DiskBytes: 1})
	return d
}

// nodes are two, on the first of which a machine runs that has written 7.
func nodes(t *testing.T) (source, target *Driver) {
	t.Helper()
	source, target = newNode(), newNode()
	if err := errors.Join(source.Prepare(t.Context(), spec()), source.Start(t.Context(), vmID)); err != nil {
		t.Fatal(err)
	}
	source.Write(vmID, 7)
	return source, target
}

func (d *Driver) is(t *testing.T, state runtime.State, written uint64) {
	t.Helper()
	all, err := d.List(context.Background())
	if err != nil || len(all) > 1 {
		t.Fatalf("%v %v", all, err)
	}
	var now runtime.State
	if len(all) == 1 {
		now = all[0].State
	}
	if what, _, _ := d.Written("p", "data"); now != state || what != written {
		t.Errorf("it is in state %d, and %d is written, want %d and %d", now, what, state, written)
	}
}

// handed over, but for its end.
func handed(t *testing.T, source, target *Driver) (runtime.Departure, runtime.Arrival, []byte) {
	t.Helper()
	departure, err := source.Depart(t.Context(), vmID)
	if err != nil {
		t.Fatal(err)
	}
	arrival, err := target.Arrive(t.Context(), spec(), departure.Offer())
	if err != nil {
		t.Fatal(err)
	}
	rest, err := departure.Copy(t.Context(), arrival.Answer())
	if err != nil {
		t.Fatal(err)
	}
	return departure, arrival, rest
}

func may() error { return nil }

func TestAMachineMovesWithItsVolume(t *testing.T) {
	source, target := nodes(t)
	departure, arrival, rest := handed(t, source, target)
	source.Write(vmID, 8) // it stands still
	if held, err := target.HeldVolumes(); err != nil || len(held) != 0 {
		t.Errorf("before it is there the target holds %v %v", held, err)
	}
	target.is(t, runtime.Broken, 0)
	if err := errors.Join(departure.Leave(t.Context()), arrival.Finish(t.Context(), rest, may)); err != nil {
		t.Fatal(err)
	}
	arrival.Close()
	departure.Close()
	source.is(t, runtime.Leaving, 7)
	target.is(t, runtime.Running, 7)
	target.Write(vmID, 9)
	target.PowerCut()
	target.is(t, runtime.Exited, 9)
	if err := source.DeleteVolume(t.Context(), "p", "data"); problem.KindOf(err) != problem.Conflict {
		t.Errorf("a volume that an instance has is deleted: %v", err)
	}
	if err := errors.Join(source.Remove(t.Context(), vmID), source.DeleteVolume(t.Context(), "p", "data")); err != nil {
		t.Fatal(err)
	}
	if _, there, _ := source.Written("p", "data"); there {
		t.Error("its old copy is there")
	}
}

func TestAMachineThatIsNotTakenOverGoesOn(t *testing.T) {
	source, target := nodes(t)
	departure, arrival, rest := handed(t, source, target)
	if err := departure.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := arrival.Finish(t.Context(), rest, func() error { return errors.New("no lease") }); err == nil {
		t.Error("it may not, and does")
	}
	arrival.Close()
	target.is(t, 0, 0)
	if _, there, _ := target.Written("p", "data"); there {
		t.Error("what came is left")
	}
	if err := departure.Stay(t.Context()); err != nil {
		t.Fatal(err)
	}
	source.Write(vmID, 8)
	source.is(t, runtime.Running, 8)
}

// Whoever moved it has ended before it was handed over.
func TestWhatWasLeftStandingStillGoesOn(t *testing.T) {
	source, target := nodes(t)
	handed(t, source, target)
	all, err := source.List(t.Context())
	if err != nil || !all[0].Paused {
		t.Errorf("it stands still, and is %v %v", all, err)
	}
	if err := source.Resume(t.Context(), vmID); err != nil {
		t.Fatal(err)
	}
	source.Write(vmID, 8)
	source.is(t, runtime.Running, 8)
}

func TestAPowerCutInTheMiddle(t *testing.T) {
	source, target := nodes(t)
	departure, arrival, _ := handed(t, source, target)
	if err := departure.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	source.PowerCut()
	target.PowerCut()
	source.is(t, runtime.Leaving, 7)
	target.is(t, runtime.Broken, 0)
	arrival.Close()
	if err := source.Settle(t.Context(), vmID); err != nil {
		t.Fatal(err)
	}
	source.is(t, runtime.Exited, 7)
}

func TestWhatIsCarelesslyTakenOverIsLostInAPowerCut(t *testing.T) {
	source, target := nodes(t)
	target.Careless = true
	_, arrival, rest := handed(t, source, target)
	if err := arrival.Finish(t.Context(), rest, may); err != nil {
		t.Fatal(err)
	}
	target.PowerCut()
	target.is(t, runtime.Exited, 0)
}

func TestNothingTakesThePlaceOfAVolume(t *testing.T) {
	d, lost := newNode(), spec()
	lost.Volumes = map[string]runtime.Volume{"data": {Made: true}}
	if err := d.Prepare(t.Context(), lost); problem.KindOf(err) != problem.Conflict {
		t.Errorf("a volume whose data is gone is made anew: %v", err)
	}
	source, target := nodes(t)
	if err := errors.Join(target.Prepare(t.Context(), spec()), target.Remove(t.Context(), vmID)); err != nil {
		t.Fatal(err)
	}
	departure, err := source.Depart(t.Context(), vmID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := target.Arrive(t.Context(), spec(), departure.Offer()); problem.KindOf(err) != problem.Conflict {
		t.Errorf("what is under its volume's name is written over: %v", err)
	}
}
