package sim

import (
	"testing"

	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/consensus/logtest"
)

// memDisk holds a log in memory for the suite of all logs.
type memDisk struct{ log *memLog }

func (d *memDisk) Open(testing.TB) consensus.Log { return d.log }
func (d *memDisk) Crash(testing.TB)              { d.log.crash() }

func TestTheLogInMemoryIsLikeTheOneOnDisk(t *testing.T) {
	logtest.Run(t, func(testing.TB) logtest.Disk { return &memDisk{log: newMemLog()} })
}
