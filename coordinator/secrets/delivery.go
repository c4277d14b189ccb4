package secrets

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/envelope"
)

// Delivery adds secrets to the orders of one node, over one stream: those that
// its placements name, sealed to it. What it sealed before it sends again as it
// was, so that equal orders look equal.
type Delivery struct {
	keeper *Keeper
	public []byte
	sent   map[string]*sitev1.DeliveredSecret
}

// NewDelivery begins with nothing sent.
func NewDelivery(keeper *Keeper) *Delivery { return &Delivery{keeper: keeper} }

// Add puts the secrets into the orders that the node's placements name. One
// that cannot be opened now is named without its key.
func (d *Delivery) Add(view *state.View, node string, orders *sitev1.Assignments) {
	public := view.Node(node).GetSealingKey()
	if !bytes.Equal(public, d.public) {
		d.public, d.sent = public, nil
	}
	sent := map[string]*sitev1.DeliveredSecret{}
	for _, id := range Named(orders.GetPlacements()) {
		record := view.Secret(id.Project, id.Name)
		if record == nil {
			continue // its workload is being stopped
		}
		key := id.Project + "/" + id.Name
		sent[key] = d.one(view, node, record, d.sent[key])
		orders.Secrets = append(orders.Secrets, sent[key])
	}
	d.sent = sent
}

func (d *Delivery) one(view *state.View, node string, record *sitev1.SecretRecord, before *sitev1.DeliveredSecret) *sitev1.DeliveredSecret {
	secret, sealed := record.GetSecret(), record.GetSealed()
	if len(before.GetNodeKey()) > 0 && bytes.Equal(before.GetCiphertext(), sealed.GetCiphertext()) {
		return before
	}
	delivered := &sitev1.DeliveredSecret{
		Project: secret.GetProject(), Name: secret.GetName(), Version: sealed.GetVersion(), Ciphertext: sealed.GetCiphertext(),
	}
	dataKey, err := d.keeper.dataKey(view, record)
	if err != nil {
		return delivered
	}
	place := envelope.DeliveryPlace(view.SiteID(), secret.GetProject(), secret.GetName(), sealed.GetVersion(), node)
	if wrapped, err := envelope.SealTo(d.public, place, dataKey); err == nil {
		delivered.NodeKey = wrapped
	}
	return delivered
}

// ID of a secret.
type ID struct{ Project, Name string }

// Named are the secrets that placements name, sorted.
func Named(placements []*skerryv1.Placement) []ID {
	named := map[ID]bool{}
	for _, p := range placements {
		for _, use := range p.GetSpec().GetContainer().GetSecrets() {
			named[ID{p.GetProject(), use.GetSecret()}] = true
		}
	}
	return slices.SortedFunc(maps.Keys(named), func(a, b ID) int {
		return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Name, b.Name))
	})
}
