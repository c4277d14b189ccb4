package reconcile

import (
	"time"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Kind of an action.
type Kind int

// The kinds.
const (
	// Fetch makes the image present.
	Fetch Kind = iota + 1
	// Prepare, Start, Stop and Remove are the driver's verbs.
	Prepare
	Start
	Stop
	// Remove also removes the logs when the placement is over.
	Remove
	// Check asks whether the instance is healthy.
	Check
	// Pause and Resume a virtual machine.
	Pause
	Resume
	// Adjust the devices of a virtual machine that runs.
	Adjust
)

var kindNames = map[Kind]string{
	Fetch: "fetch the image", Prepare: "prepare", Start: "start", Stop: "stop", Remove: "remove", Check: "check the health",
	Pause: "pause", Resume: "resume", Adjust: "change the devices",
}

func (k Kind) String() string { return kindNames[k] }

// Action is one thing to do to one instance.
type Action struct {
	Kind Kind
	ID   string
	// Spec for Fetch, Prepare and Adjust.
	Spec runtime.Spec
	// Grace of Stop.
	Grace time.Duration
	// Final removal takes the logs along.
	Final bool
	// Health, Container or VM, and Address for Check.
	Health    *skerryv1.Health
	Container *skerryv1.Container
	VM        *skerryv1.VirtualMachine
	Address   string
}

// InstanceID of a placement on its node.
func InstanceID(project, placement string) string { return project + "." + placement }
