package access

import (
	"sync"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// Cache compiles records once for each revision. The zero cache is ready.
type Cache struct {
	mu   sync.Mutex
	last *Judge
}

// At a revision, the judge by its records.
func (c *Cache) At(revision uint64, records func() *sitev1.AccessRecords) *Judge {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || c.last.Revision() != revision {
		c.last = Compile(records())
	}
	return c.last
}
