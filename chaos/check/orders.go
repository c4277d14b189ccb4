package check

import (
	"cmp"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// Orders remembers the highest order that each node acted on, whatever became
// of its process since.
type Orders struct{ seen map[string]*sitev1.Order }

// NewOrders returns an empty record.
func NewOrders() *Orders { return &Orders{seen: map[string]*sitev1.Order{}} }

// Acts tells that a node makes an order what it works towards.
func (o *Orders) Acts(node string, order *sitev1.Order) *Violation {
	if seen := o.seen[node]; seen != nil && compare(order, seen) < 0 {
		return violated(OrdersRise, "%s acts on order %d.%d.%d after %d.%d.%d", node,
			order.GetSiteEpoch(), order.GetTerm(), order.GetIndex(), seen.GetSiteEpoch(), seen.GetTerm(), seen.GetIndex())
	}
	o.seen[node] = order
	return nil
}

func compare(a, b *sitev1.Order) int {
	return cmp.Or(
		cmp.Compare(a.GetSiteEpoch(), b.GetSiteEpoch()),
		cmp.Compare(a.GetTerm(), b.GetTerm()),
		cmp.Compare(a.GetIndex(), b.GetIndex()))
}
