package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	agentsecrets "skerry.dev/agent/secrets"
	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/secrets"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/manifest"
)

const (
	// secretsEvery is how often a coordinator looks after the site's key
	// (coordinator/keepsecrets.go).
	secretsEvery = 250 * time.Millisecond
	// secretKey is the one key of each secret of a simulation.
	secretKey = "value"
	// sealedWorkload names some of the secrets.
	sealedWorkload = "sealed"
)

var (
	secretNames = []string{"s0", "s1", "s2"}
	namedHere   = secretNames[:2]
)

// chance is env.Rand of one host.
type chance struct{ *rand.Rand }

func (c chance) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(c.Uint32())
	}
	return len(p), nil
}

// newRecipient draws a host's sealing key.
func newRecipient(rng *rand.Rand) *envelope.Recipient {
	recipient, err := envelope.NewRecipient(chance{rng})
	if err != nil {
		panic("there is no sealing key: " + err.Error())
	}
	return recipient
}

// keepSecrets is what the coordinator does for the site's key; while faults last
// it also is the operator who makes secrets and changes them.
func (c *coordinator) keepSecrets() {
	if c.over() {
		return
	}
	again := func() { c.process.later(secretsEvery, c.keepSecrets) }
	if view := c.store.View(); c.settledSecrets != 0 && c.settledSecrets == view.Index() {
		c.commitSecrets(c.changeSecrets(view), again)
		return
	}
	entry, err := c.keeper.Next(c.store.View())
	if err != nil {
		c.world.trace.note(c.host.name, "cannot open the site's key: %v", err)
		if able := c.keeper.Able(c.store.View()); len(able) > 0 {
			c.replica.TransferLeadership(able...)
			c.wake()
		}
		again()
		return
	}
	if entry == nil {
		entry = c.secretWork()
	}
	c.commitSecrets(entry, again)
}

// commitSecrets commits an entry; nil for none.
func (c *coordinator) commitSecrets(entry *sitev1.Entry, again func()) {
	if entry == nil {
		again()
		return
	}
	entry.RequestId, entry.Principal = c.newID(), "coordinator"
	c.commit(entry, func(*sitev1.Outcome, bool) { again() })
}

// secretWork makes the secrets, then a workload that names some of them, then
// changes a secret or rotates the site's key now and then.
func (c *coordinator) secretWork() *sitev1.Entry {
	view := c.store.View()
	if secrets.Present(view) == nil || len(view.Nodes()) < len(c.world.hosts) {
		return nil
	}
	for _, name := range secretNames {
		if view.Secret(project, name) == nil {
			return c.setSecret(name)
		}
	}
	if view.Workload(project, sealedWorkload) == nil {
		w := newWorkload(sealedWorkload)
		*w.Replicas = 2
		for _, name := range namedHere {
			w.Container.Secrets = append(w.Container.Secrets, &skerryv1.SecretUse{Secret: name, Path: "/run/secrets/" + name})
		}
		return applyEntry(w)
	}
	c.settledSecrets = view.Index()
	return c.changeSecrets(view)
}

// changeSecrets now and then, while faults last.
func (c *coordinator) changeSecrets(view *state.View) *sitev1.Entry {
	rng := c.world.secretRng
	switch {
	case c.world.quiet:
	case rng.IntN(40) == 0:
		return c.setSecret(secretNames[rng.IntN(len(secretNames))])
	case rng.IntN(200) == 0:
		if entry, err := c.keeper.NewVersion(view); err == nil {
			return entry
		}
	}
	return nil
}

// setSecret gives a secret a new value, by which it is known.
func (c *coordinator) setSecret(name string) *sitev1.Entry {
	view := c.store.View()
	version := view.Secret(project, name).GetSealed().GetVersion() + 1
	values := map[string][]byte{secretKey: []byte(valueOf(name, version))}
	sealed, err := c.keeper.Seal(view, project, name, values)
	if err != nil {
		return nil // it can be opened the next time, or by another
	}
	secret := &skerryv1.Secret{Kind: "Secret", Name: name, Project: project, Keys: manifest.SecretSizes(values)}
	return &sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{
		Resources: []*skerryv1.Resource{manifest.Wrap(secret)}, Secrets: []*sitev1.SealedSecret{sealed},
	}}}
}

func valueOf(name string, version uint64) string { return fmt.Sprintf("value %d of %s", version, name) }

// addSecrets puts secrets into orders, as the dispatcher does.
func (s *served) addSecrets(orders *sitev1.Assignments) {
	if s.delivery == nil {
		s.delivery = secrets.NewDelivery(s.lead.keeper)
	}
	given := orders.GetPlacements()
	if s.process.world.has(Spill) {
		all := &skerryv1.Container{}
		for _, name := range secretNames {
			all.Secrets = append(all.Secrets, &skerryv1.SecretUse{Secret: name})
		}
		orders.Placements = append(slices.Clone(given), &skerryv1.Placement{Project: project, Spec: &skerryv1.Workload{Container: all}})
	}
	s.delivery.Add(s.lead.store.View(), s.node, orders)
	orders.Placements = given
}

// judgeSecrets looks at the secrets that a node has with its orders.
func (a *node) judgeSecrets(orders *sitev1.Assignments) {
	a.world.violate(check.Delivered(a.host.name, orders))
	for _, s := range orders.GetSecrets() {
		if got, ok := a.host.open(a, orders, s); ok {
			a.world.violate(check.Opened(a.host.name, s.GetName(), got, valueOf(s.GetName(), s.GetVersion())))
		}
	}
}

// mostOpened secrets are remembered by a host.
const mostOpened = 256

// open a secret of the orders. What was opened once is the same the next time: to
// open it is the most expensive part of taking in orders.
func (h *host) open(a *node, orders *sitev1.Assignments, s *sitev1.DeliveredSecret) (string, bool) {
	sealed := orders.GetSiteId() + string(encode(s))
	if got, known := h.opened[sealed]; known {
		return got, true
	}
	got, ok := a.read(orders, s.GetName())
	if ok {
		if len(h.opened) == mostOpened {
			clear(h.opened)
		}
		h.opened[sealed] = got
	}
	return got, ok
}

// read a secret as a container would.
func (a *node) read(orders *sitev1.Assignments, name string) (string, bool) {
	opener := agentsecrets.New(a.host.name, a.host.recipient)
	opened, err := opener.Open(orders, project, &skerryv1.Container{Secrets: []*skerryv1.SecretUse{{Secret: name, Path: "/s"}}})
	if err != nil {
		return "", false
	}
	return string(opened.Dirs[0].Files[secretKey]), true
}

// unsettledSecrets lists what is not in order with secrets.
func (w *world) unsettledSecrets() []string {
	var out []string
	present := secrets.Present(w.newest)
	if w.newest.Workload(project, sealedWorkload) == nil {
		return []string{"nothing names a secret yet"}
	}
	for _, key := range w.newest.SecretKeys() {
		if key.GetVersion() != present.GetVersion() {
			out = append(out, fmt.Sprintf("%d secrets are under version %d of the site's key", len(w.newest.SecretsUnder(key.GetVersion())), key.GetVersion()))
		}
	}
	for _, n := range secrets.Replicas(w.newest) {
		if !slices.ContainsFunc(present.GetWraps(), func(wrap *sitev1.KeyWrap) bool { return wrap.GetNode() == n.GetName() }) {
			out = append(out, fmt.Sprintf("%s cannot open the site's key", n.GetName()))
		}
	}
	if len(present.GetWraps()) != len(secrets.Replicas(w.newest)) {
		out = append(out, "nodes without a replica can open the site's key")
	}
	for _, p := range w.newest.PlacementsOf(project, sealedWorkload) {
		h := w.hostByName(p.GetNode())
		if h < 0 || w.hosts[h].process == nil || p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
			continue
		}
		for _, name := range namedHere {
			node := w.hosts[h].process.agent
			got, ok := node.read(node.ledger.Current(), name)
			if want := valueOf(name, w.newest.Secret(project, name).GetSealed().GetVersion()); !ok || got != want {
				out = append(out, fmt.Sprintf("%s reads %q in %s, not %q", p.GetNode(), got, name, want))
			}
		}
	}
	return out
}
