package sim

// Bug that is planted through a seam, to prove that a rule notices it.
type Bug string

// The bugs.
const (
	// SkipSync: the log says that it is durable when it is not.
	SkipSync Bug = "skip-sync"
)
