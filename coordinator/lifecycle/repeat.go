package lifecycle

import "time"

type asked struct{ at time.Duration }

func (s *step) holdRepeated() {}
