package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/runtime/libvirt/testguest"
	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

const (
	vmStartRuns = 10
	vmImage     = "disk"
	// manyVMs are defined, so many at once; manyTime bounds how long those take to
	// start and to stop.
	manyVMs    = 100
	manyAtOnce = 10
	manyTime   = 5 * time.Minute
	// settleTime passes before memory is read.
	settleTime = 30 * time.Second
)

// machineSite is a site of hosts with libvirt, and a disk image.
func machineSite(ctx context.Context, binary, dir string, n int) (*hosts.Rig, error) {
	r, err := hosts.New(ctx, hosts.Options{Name: "bench", Dir: dir, Binary: binary, Machines: true})
	if err != nil {
		return nil, err
	}
	err = r.Up(ctx, n)
	disk := filepath.Join(dir, "disk.qcow2")
	if err == nil {
		err = exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", disk, "64M").Run()
	}
	if err == nil {
		err = r.Until(ctx, "the disk to be loaded", patience, func(ctx context.Context) error {
			_, err := r.Skerry(ctx, nil, "image", "load", disk, "--name", vmImage)
			return err
		})
	}
	if err == nil {
		err = r.Until(ctx, "the last node to run virtual machines", patience, func(ctx context.Context) error {
			c, err := r.Client()
			if err != nil {
				return err
			}
			got, err := c.Resources().Get(ctx, connect.NewRequest(&skerryv1.GetRequest{Kind: "Node", Name: r.Hosts[n-1].Name}))
			if err == nil && got.Msg.GetResource().GetNode().GetVms() == nil {
				err = errors.New("it does not yet")
			}
			return err
		})
	}
	if err != nil {
		closeRig(r)
		return nil, err
	}
	return r, nil
}

// vmStart measures from an apply to the first byte on the guest's console, and how
// much of that is the site's own: all before libvirt begins to start QEMU, by the
// time that libvirt itself writes down.
func vmStart(ctx context.Context, binary, dir string) (result, error) {
	r, err := machineSite(ctx, binary, dir, 1)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	guest, err := testguest.Make(r.Dir) // which the rig has emptied
	if err != nil {
		return nil, err
	}
	var own, written, total []float64
	for run := range vmStartRuns {
		one, err := startMachine(ctx, r, guest, fmt.Sprintf("vm-%d", run))
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", run+1, err)
		}
		progress("run %d: written after %.3f s, libvirt starts QEMU after %.3f s, first byte after %.3f s", run+1, one.written, one.own, one.first)
		own, written, total = append(own, one.own), append(written, one.written), append(total, one.first)
	}
	out := summary(own, "s")
	s := summary(total, "s")
	out["first_byte_median"], out["first_byte_min"], out["first_byte_max"] = s["median"], s["min"], s["max"]
	out["written_median"] = summary(written, "s")["median"]
	return out, nil
}

// begun is when what of one start had happened, in seconds after the apply.
type begun struct{ written, own, first float64 }

func startMachine(ctx context.Context, r *hosts.Rig, guest *testguest.Guest, name string) (*begun, error) {
	c, err := r.Client()
	if err != nil {
		return nil, err
	}
	from := time.Now()
	vm := &skerryv1.VirtualMachine{
		Image: vmImage, Cpu: 1, Memory: "128Mi", Accel: "tcg",
		Boot: &skerryv1.Boot{Kernel: guest.Kernel, Initrd: guest.Initrd, Cmdline: "console=ttyS0 earlyprintk=ttyS0,115200 panic=0"},
	}
	if err := applyVM(ctx, c.Resources(), name, 1, "", vm); err != nil {
		return nil, err
	}
	one := &begun{written: time.Since(from).Seconds()}
	host := r.Hosts[0]
	console := filepath.Join(host.StateDir()+"-vms", "logs", "default."+name+"-1", "0")
	for {
		if info, err := os.Stat(console); err == nil && info.Size() > 0 {
			break
		}
		if time.Since(from) > patience {
			why, _ := r.Skerry(ctx, nil, "why", name) // adds to what is told
			return nil, fmt.Errorf("nothing is on %s after %s: %s", console, patience, why)
		}
		time.Sleep(time.Millisecond)
	}
	one.first = time.Since(from).Seconds()
	at, err := launched(host.LibvirtDir(), name)
	if err != nil {
		return nil, err
	}
	one.own = at.Sub(from).Seconds()
	_, err = c.Resources().Delete(ctx, connect.NewRequest(&skerryv1.DeleteRequest{Kind: "Workload", Name: name}))
	return one, err
}

var startLine = regexp.MustCompile(`(?m)^(\S+ \S+)\+0000: starting up`)

// launched is when libvirt began to start QEMU, by its own log.
func launched(dir, name string) (time.Time, error) {
	text, err := os.ReadFile(filepath.Join(dir, "var/log/libvirt/qemu", "skerry-default."+name+"-1.log"))
	if err != nil {
		return time.Time{}, err
	}
	found := startLine.FindSubmatch(text)
	if found == nil {
		return time.Time{}, fmt.Errorf("libvirt's log does not tell when it started %s", name)
	}
	return time.Parse("2006-01-02 15:04:05.000", string(found[1]))
}

func applyVM(ctx context.Context, w writer, name string, replicas uint32, node string, vm *skerryv1.VirtualMachine) error {
	var on *skerryv1.Place
	if node != "" {
		on = &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "name", In: []string{node}}}}
	}
	_, err := w.Apply(ctx, connect.NewRequest(&skerryv1.ApplyRequest{Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: &skerryv1.Workload{
		Kind: "Workload", Name: name, Replicas: &replicas, StopGrace: "0s", Vm: vm, Place: on,
	}}}}}))
	return err
}

// vmMany measures how much a plain agent grows by virtual machines that are defined
// on its node and do not run.
func vmMany(ctx context.Context, binary, dir string) (result, error) {
	r, err := machineSite(ctx, binary, dir, 2)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	if _, err := r.Skerry(ctx, nil, "apply", "-f", writeFile(dir, "settings.yaml", "kind: Settings\nname: site\nscheduling: {cpuPercent: 10000, memoryPercent: 10000, diskPercent: 10000}\n")); err != nil {
		return nil, err
	}
	before, err := settledMemory(ctx, r)
	if err != nil {
		return nil, err
	}
	c, err := r.Client()
	if err != nil {
		return nil, err
	}
	// A few at a time: each has run once, and is off when the next ones come.
	var memory []float64
	for from := 0; from < manyVMs; from += manyAtOnce {
		if err := addOff(ctx, r, c, from, from+manyAtOnce); err != nil {
			return nil, err
		}
		now, err := settledMemory(ctx, r)
		if err != nil {
			return nil, err
		}
		progress("%d are defined and off: %.1f MiB", from+manyAtOnce, now)
		memory = append(memory, now)
	}
	after := memory[len(memory)-1]
	out := summary([]float64{after - before}, "MiB")
	out["before_mib"], out["after_mib"], out["vms"] = before, memory, manyVMs
	out["of_100_more_mib"] = (after - memory[0]) * 100 / (manyVMs - manyAtOnce)
	return out, nil
}

func writeFile(dir, name, text string) string {
	file := filepath.Join(dir, name)
	_ = os.WriteFile(file, []byte(text), 0o600) // whoever reads it tells
	return file
}

func settledMemory(ctx context.Context, r *hosts.Rig) (float64, error) {
	if err := hosts.Sleep(ctx, settleTime); err != nil {
		return 0, err
	}
	return residentOf(r.Hosts[1])
}

// addOff adds virtual machines to those that are off. They boot from an empty disk,
// and so wait in their BIOS until their power is cut.
func addOff(ctx context.Context, r *hosts.Rig, c *client.Client, from, to int) error {
	vm := &skerryv1.VirtualMachine{Image: vmImage, Cpu: 1, Memory: "32Mi", Accel: "tcg"}
	if err := applyVM(ctx, c.Resources(), "many", uint32(to), r.Hosts[1].Name, vm); err != nil {
		return err
	}
	if err := awaitMany(ctx, r, skerryv1.Phase_PHASE_RUNNING, to-from); err != nil {
		return err
	}
	for n := from; n < to; n++ {
		if _, err := c.VMs().Power(ctx, connect.NewRequest(&skerryv1.PowerRequest{
			Placement: fmt.Sprintf("many-%d", n+1), State: skerryv1.PowerState_POWER_STATE_OFF, Hard: true,
		})); err != nil {
			return err
		}
	}
	return awaitMany(ctx, r, skerryv1.Phase_PHASE_STOPPED, to)
}

func awaitMany(ctx context.Context, r *hosts.Rig, phase skerryv1.Phase, many int) error {
	return r.Until(ctx, fmt.Sprintf("%d virtual machines to be %s", many, phase), manyTime, func(ctx context.Context) error {
		c, err := r.Client()
		if err != nil {
			return err
		}
		got, err := c.Resources().List(ctx, connect.NewRequest(&skerryv1.ListRequest{Kind: "Placement"}))
		if err != nil {
			return err
		}
		there := 0
		for _, resource := range got.Msg.GetResources() {
			if resource.GetPlacement().GetStatus().GetPhase() == phase {
				there++
			}
		}
		if there < many {
			return fmt.Errorf("%d are", there)
		}
		return nil
	})
}
