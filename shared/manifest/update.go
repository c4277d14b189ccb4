package manifest

import (
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Strategies of updates.
const (
	Rolling   = "rolling"
	Recreate  = "recreate"
	Canary    = "canary"
	BlueGreen = "blue-green"
)

// Manual as update.promoteAfter: somebody promotes it.
const Manual = "manual"

func defaultUpdate(u *skerryv1.Update) {
	set(&u.Strategy, Rolling)
	if u.MaxSurge == 0 {
		set(&u.MaxUnavailable, 1)
	}
	set(&u.MinHealthy, "0s")
	set(&u.Deadline, "10m")
	switch u.Strategy {
	case Canary:
		set(&u.Canary, 1)
		set(&u.PromoteAfter, Manual)
	case BlueGreen:
		set(&u.PromoteAfter, "0s")
	}
}

func (v *validator) update(w *skerryv1.Workload) {
	u := w.GetUpdate()
	v.oneOf("update.strategy", u.GetStrategy(), Rolling, Recreate, Canary, BlueGreen)
	v.between("update.maxUnavailable", u.GetMaxUnavailable(), 0, maxReplicas)
	v.between("update.maxSurge", u.GetMaxSurge(), 0, maxReplicas)
	healthy := v.duration("update.minHealthy", u.GetMinHealthy(), 0, time.Hour)
	deadline := v.duration("update.deadline", u.GetDeadline(), time.Second, 24*time.Hour)
	if deadline != 0 && healthy >= deadline {
		v.fail("update.deadline", "%s is over before a placement could have been healthy for %s", u.GetDeadline(), u.GetMinHealthy())
	}
	beside := u.GetStrategy() == Canary || u.GetStrategy() == BlueGreen
	v.canary(w, beside)
	v.surge(w, beside)
	if IsJob(w) && u.GetStrategy() != Rolling {
		v.fail("update.strategy", "a job is not updated: another template is another run").Hint = "leave it out"
	}
}

func (v *validator) canary(w *skerryv1.Workload, beside bool) {
	u, replicas := w.GetUpdate(), w.GetReplicas()
	switch {
	case u.GetStrategy() == Canary:
		v.between("update.canary", u.GetCanary(), 1, maxReplicas)
		if replicas > 0 && u.GetCanary() > replicas && u.GetCanary() <= maxReplicas {
			v.fail("update.canary", "an update cannot begin with %d new placements of %d replicas", u.GetCanary(), replicas).Hint =
				"ask for at most as many as there are replicas; strategy: blue-green begins with all of them"
		}
	case u.GetCanary() != 0:
		v.fail("update.canary", "only the strategy canary takes it").Hint = "leave it out, or write strategy: canary"
	}
	switch {
	case !beside && u.GetPromoteAfter() != "":
		v.fail("update.promoteAfter", "only the strategies canary and blue-green take it").Hint = "leave it out"
	case beside && u.GetPromoteAfter() != Manual:
		v.duration("update.promoteAfter", u.GetPromoteAfter(), 0, 24*time.Hour)
	}
}

// surge refuses to run new placements beside old ones where both need the same
// place. With maxUnavailable one old placement goes first.
func (v *validator) surge(w *skerryv1.Workload, beside bool) {
	u := w.GetUpdate()
	field, how := "update.strategy", u.GetStrategy()+" runs new placements beside the old ones"
	if u.GetStrategy() == Recreate && u.GetMaxSurge() > 0 {
		v.fail("update.maxSurge", "recreate ends all old placements before it starts new ones").Hint = "leave it out, or write strategy: rolling"
		return
	}
	if !beside {
		if u.GetMaxSurge() == 0 {
			return
		}
		field, how = "update.maxSurge", "it runs new placements beside the old ones"
	}
	if w.GetPartition().GetMode() == Exclusive {
		v.fail(field, "%s, and what is exclusive runs once at most", how).Hint =
			"rolling without maxSurge and recreate stop the old one first"
		return
	}
	if w.GetPartition().GetMode() == Stay {
		v.fail(field, "%s, and what stays on its node has no other place", how).Hint =
			"rolling without maxSurge and recreate stop the old one first"
		return
	}
	if u.GetMaxUnavailable() > 0 && !beside {
		return
	}
	for _, port := range w.GetContainer().GetPorts() {
		fixed := port.GetHostPort()
		if w.GetContainer().GetNetwork() == "host" {
			fixed = port.GetPort()
		}
		if fixed != 0 && port.GetHostPortLast() == 0 {
			v.fail(field, "%s, and both would need port %d of a node", how, fixed).Hint =
				"give a range of ports with hostPortLast; or maxUnavailable: 1 with strategy rolling, which stops an old one first"
			return
		}
	}
}
