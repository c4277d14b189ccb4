package model

import (
	"testing"

	"go.uber.org/goleak"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/conformance"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	conformance.Run(t, func(*testing.T) conformance.Subject {
		d := New(env.NewSystem().Clock)
		return conformance.Subject{
			Driver: d,
			Reopen: func(_ *testing.T, gone func()) conformance.Driver {
				gone()
				return d
			},
			Break: func(_ *testing.T, id string) { d.Break(id) },
			PID:   func(_ *testing.T, id string) int { return d.PID(id) },
			Other: func(*testing.T) conformance.Driver { return New(env.NewSystem().Clock) },
		}
	})
}

func TestAPowerCutEndsWhatRunsUnseen(t *testing.T) {
	d := New(env.NewSystem().Clock)
	var seen []runtime.State
	d.Changed = func(_ string, state runtime.State) { seen = append(seen, state) }
	d.AddImage(runtime.StoredImage{Name: "web:1", Digest: "sha256:1", Size: 1})
	for _, id := range []string{"default.a-1", "default.b-1"} {
		spec := runtime.Spec{ID: id, ImageDigest: "sha256:1", Container: &skerryv1.Container{Network: "bridge"}}
		if err := d.Prepare(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Start(t.Context(), "default.a-1"); err != nil {
		t.Fatal(err)
	}
	d.PowerCut()
	all, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if all[0].State != runtime.Exited || all[0].Exit != nil || all[1].State != runtime.Broken {
		t.Errorf("after the power cut: %+v", all)
	}
	if want := 5; len(seen) != want {
		t.Errorf("%d changes were told, want %d: %v", len(seen), want, seen)
	}
}
