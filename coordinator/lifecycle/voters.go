package lifecycle

import "time"

type voterControl struct {
	replicas map[uint64]*replicaWatch
}

type replicaWatch struct{ since, active time.Duration }

func (s *step) changeVoters(Progress) {}
