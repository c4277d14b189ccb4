package runtime

import "context"

// Mover is a driver whose running instances can go to another node. It moves
// nothing by itself: whoever uses it carries what the two ends say to each other,
// and joins their sockets.
type Mover interface {
	// Depart begins to send a running instance.
	Depart(ctx context.Context, id string) (Departure, error)
	// Arrive begins to take one in, as the offer of the other end says. What there
	// was of it here is removed.
	Arrive(ctx context.Context, spec Spec, offer []byte) (Arrival, error)
	// Settle what was handed over to another node that turned out not to have it:
	// it is this node's again, and goes on. Nothing happens to any other.
	Settle(ctx context.Context, id string) error
}

// Departure of an instance. Until Leave nothing is lost when it ends.
type Departure interface {
	// Offer is for the other end.
	Offer() []byte
	// Sockets here that take the memory's and the disks' streams.
	Sockets() []string
	// Copy all, and halt the instance at the end. It returns what the other end
	// needs to go on. After an error it runs on.
	Copy(ctx context.Context, answer []byte) (rest []byte, err error)
	// Progress of the copy, in percent.
	Progress() int
	// Leave notes on disk that the other end may run it from now on.
	Leave(ctx context.Context) error
	// Stay: the other end does not run it, and never will. It goes on here.
	Stay(ctx context.Context) error
	// Close ends what this is about. What was not left goes on here.
	Close()
}

// Arrival of an instance.
type Arrival interface {
	// Answer is for the other end.
	Answer() []byte
	// Sockets here that want the memory's and the disks' streams.
	Sockets() []string
	// Finish lets it run here, given what Copy returned, if may says that it may.
	Finish(ctx context.Context, rest []byte, may func() error) error
	// Close removes what has not finished.
	Close()
}
