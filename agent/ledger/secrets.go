package ledger

import (
	"slices"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	ordered "skerry.dev/shared/orders"
)

// keepSecrets puts secrets that this node has in place of those that the
// coordinator names and could not give: a coordinator that cannot open the site's
// key takes nothing away.
func keepSecrets(orders, before *sitev1.Assignments) *sitev1.Assignments {
	var changed *sitev1.Assignments
	for i, given := range orders.GetSecrets() {
		if len(given.GetNodeKey()) > 0 {
			continue
		}
		for _, had := range before.GetSecrets() {
			if had.GetProject() == given.GetProject() && had.GetName() == given.GetName() {
				if changed == nil {
					changed = &sitev1.Assignments{} // the orders are the caller's
					ordered.Share(changed, orders)
					changed.Secrets = slices.Clone(orders.GetSecrets())
				}
				changed.Secrets[i] = had
			}
		}
	}
	if changed == nil {
		return orders
	}
	return changed
}
