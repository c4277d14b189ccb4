package naming

import (
	"slices"
	"sync"

	"skerry.dev/agent/ledger"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/endpoints"
	"skerry.dev/shared/problem"
)

// Book is the node's copy of the site's endpoints. It is safe for concurrent
// use.
type Book struct {
	mu    sync.RWMutex
	set   *endpoints.Set
	order *sitev1.Order
	// workloads by project and name, each with its endpoints by placement.
	workloads map[string]map[string]map[string]*skerryv1.Endpoint
}

// NewBook opens the copy that the ledger kept.
func NewBook(kept *sitev1.EndpointCopy) *Book {
	b := &Book{}
	b.restart(kept.GetEndpoints())
	b.order = kept.GetOrder()
	return b
}

// Copy is what the ledger should keep.
func (b *Book) Copy() *sitev1.EndpointCopy {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return &sitev1.EndpointCopy{Order: b.order, Endpoints: b.set.All()}
}

// Digest of the copy.
func (b *Book) Digest() uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.set.Digest()
}

// Take takes in what the coordinator sent. Afterwards the copy is what the
// coordinator's was, or there is an error and the copy is empty of doubt: it is
// asked for anew.
func (b *Book) Take(response *sitev1.EndpointsResponse) error {
	changes, err := endpoints.Unpack(response.GetChanges())
	if err != nil {
		return problem.New(problem.Invalid, "endpoints", "what the coordinator sent cannot be read: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if older := b.order; olderTerm(response.GetOrder(), older) {
		return problem.New(problem.Conflict, "endpoints", "they come from a coordinator that has been replaced")
	}
	if response.GetWhole() {
		b.restart(nil)
	}
	for _, key := range changes.GetRemoved() {
		b.remove(key)
	}
	for _, e := range changes.GetSet() {
		b.put(e)
	}
	b.order = response.GetOrder()
	if got := b.set.Digest(); got != response.GetDigest() {
		return problem.New(problem.Conflict, "endpoints", "the copy has the digest %x, the coordinator's %x", got, response.GetDigest())
	}
	return nil
}

// olderTerm tells whether an order is that of an earlier coordinator.
func olderTerm(a, b *sitev1.Order) bool {
	return ledger.Lower(&sitev1.Order{SiteEpoch: a.GetSiteEpoch(), Term: a.GetTerm()},
		&sitev1.Order{SiteEpoch: b.GetSiteEpoch(), Term: b.GetTerm()})
}

// restart needs mu, or nobody else.
func (b *Book) restart(all []*skerryv1.Endpoint) {
	b.set, b.workloads = endpoints.NewSet(), map[string]map[string]map[string]*skerryv1.Endpoint{}
	for _, e := range all {
		b.put(e)
	}
}

func (b *Book) put(e *skerryv1.Endpoint) {
	b.remove(endpoints.Key(e))
	b.set.Put(e)
	project := b.workloads[e.GetProject()]
	if project == nil {
		project = map[string]map[string]*skerryv1.Endpoint{}
		b.workloads[e.GetProject()] = project
	}
	if project[e.GetWorkload()] == nil {
		project[e.GetWorkload()] = map[string]*skerryv1.Endpoint{}
	}
	project[e.GetWorkload()][e.GetPlacement()] = e
}

func (b *Book) remove(key string) {
	old := b.set.Get(key)
	if old == nil {
		return
	}
	b.set.Remove(key)
	project := b.workloads[old.GetProject()]
	delete(project[old.GetWorkload()], old.GetPlacement())
	if len(project[old.GetWorkload()]) == 0 {
		delete(project, old.GetWorkload())
	}
	if len(project) == 0 {
		delete(b.workloads, old.GetProject())
	}
}

// workload returns the endpoints of a workload, in no order.
func (b *Book) workload(project, name string) []*skerryv1.Endpoint {
	b.mu.RLock()
	defer b.mu.RUnlock()
	placements := b.workloads[project][name]
	all := make([]*skerryv1.Endpoint, 0, len(placements))
	for _, e := range placements {
		all = append(all, e)
	}
	return all
}

func (b *Book) get(key string) *skerryv1.Endpoint {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.set.Get(key)
}

func (b *Book) hasProject(project string) bool {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return len(b.workloads[project]) > 0
}

// all endpoints but those of one node.
func (b *Book) others(node string) []*skerryv1.Endpoint {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.DeleteFunc(b.set.All(), func(e *skerryv1.Endpoint) bool { return e.GetNode() == node })
}
