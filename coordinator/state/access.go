package state

import (
	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	adminRole = "admin"
	// maxGrants of one operator.
	maxGrants = 64
)

// roles that an operator may have; package access says what they mean.
var roles = map[string]bool{adminRole: true, "operator": true, "viewer": true, "auditor": true}

// accessChanges is called before a record changes by which calls are judged:
// what was judged before is to be judged again.
func (x *tx) accessChanges() {
	if x.accessRevision == x.index {
		return
	}
	x.hadAdmin = x.hasAdmin()
	x.accessRevision = x.index
}

// checkAdmin refuses an entry that would leave the site without an operator who
// may change who may do what.
func (x *tx) checkAdmin() error {
	if x.accessRevision != x.index || !x.hadAdmin || x.hasAdmin() {
		return nil
	}
	return problem.New(problem.Conflict, "site "+x.site, "nobody would be left with the role admin").
		WithHint("give it to somebody else first: skerry operator grant NAME admin")
}

func (x *tx) hasAdmin() bool {
	for _, operator := range operators.list(x.rows) {
		if IsAdmin(operator) {
			return true
		}
	}
	return false
}

// IsAdmin of the whole site.
func IsAdmin(operator *sitev1.OperatorRecord) bool {
	for _, grant := range operator.GetGrants() {
		if grant.GetRole() == adminRole && grant.GetProject() == "" {
			return true
		}
	}
	return false
}

// judgeAgain tells whether an entry was judged by records that have changed
// since, or for a workload that has (SAFETY, rule 17).
func (x *tx) judgeAgain(entry *sitev1.Entry) bool {
	if entry.GetAccessRevision() != 0 && entry.GetAccessRevision() < x.accessRevision {
		return true
	}
	if steer := entry.GetSteerRollout(); steer.GetJudged() != nil {
		return x.isAnother(steer.GetProject(), steer.GetWorkload(), steer.GetJudged())
	}
	run := entry.GetStartRun()
	return run.GetJudged() != nil && x.isAnother(run.GetProject(), run.GetWorkload(), run.GetJudged())
}

// isAnother: the workload is there, and not as it was judged.
func (x *tx) isAnother(project, name string, judged *sitev1.Judged) bool {
	k := key(project, name)
	w := workloads.get(x.rows, k).GetWorkload()
	return w != nil && !proto.Equal(judged, x.rollout(k).judged(w))
}

// Judged is what of a workload decides whether somebody may steer it, or start a
// run of it.
func (v *View) Judged(w *skerryv1.Workload) *sitev1.Judged {
	return v.Rollout(w.GetProject(), w.GetName()).judged(w)
}

func (r Rollout) judged(w *skerryv1.Workload) *sitev1.Judged {
	return &sitev1.Judged{ResourceVersion: w.GetResourceVersion(), Goal: r.Goal().GetGeneration()}
}

func checkGrants(about string, grants []*skerryv1.Grant) error {
	if len(grants) > maxGrants {
		return problem.New(problem.Invalid, about, "%d roles, at most %d are taken", len(grants), maxGrants).WithField("grants")
	}
	for _, grant := range grants {
		if !roles[grant.GetRole()] {
			return problem.New(problem.Invalid, about, "there is no role %q", bounded(grant.GetRole(), maxName)).
				WithField("grants").WithHint("the roles are admin, operator, viewer and auditor")
		}
		if grant.GetProject() != "" {
			if err := checkName("Project", grant.GetProject()); err != nil {
				return err
			}
		}
	}
	return nil
}

// changeGrants gives roles to an operator, or takes them away.
func (x *tx) changeGrants(change *sitev1.ChangeGrants) (*sitev1.Outcome, error) {
	about := "Operator/" + bounded(change.GetOperator(), maxName)
	present := operators.get(x.rows, change.GetOperator())
	if present == nil {
		return nil, problem.New(problem.NotFound, about, "there is no such operator").
			WithHint("make a token for a new one: skerry token create --role operator --name %s --grant ROLE", bounded(change.GetOperator(), maxName))
	}
	for _, grants := range [][]*skerryv1.Grant{change.GetAdd(), change.GetRemove()} {
		if err := checkGrants(about, grants); err != nil {
			return nil, err
		}
	}
	for _, grant := range change.GetRemove() {
		if !hasGrant(present.GetGrants(), grant) {
			return nil, problem.New(problem.NotFound, about, "it does not have the role %s", RoleWords(grant)).
				WithHint("skerry operator list shows who has which")
		}
	}
	next := shallow(present)
	next.Grants = merged(present.GetGrants(), change)
	if err := checkGrants(about, next.GetGrants()); err != nil {
		return nil, err
	}
	operators.put(x, next)
	x.inform(subject{kind: "Operator", name: change.GetOperator()}, "GrantsChanged", "operator %s has the roles: %s",
		change.GetOperator(), namesOf(next.GetGrants()))
	return &sitev1.Outcome{Operator: change.GetOperator()}, nil
}

func merged(present []*skerryv1.Grant, change *sitev1.ChangeGrants) []*skerryv1.Grant {
	var next []*skerryv1.Grant
	for _, grant := range present {
		if !hasGrant(change.GetRemove(), grant) {
			next = append(next, grant)
		}
	}
	for _, grant := range change.GetAdd() {
		if !hasGrant(next, grant) {
			next = append(next, grant)
		}
	}
	return next
}

func hasGrant(grants []*skerryv1.Grant, wanted *skerryv1.Grant) bool {
	for _, grant := range grants {
		if grant.GetRole() == wanted.GetRole() && grant.GetProject() == wanted.GetProject() {
			return true
		}
	}
	return false
}

// RoleWords name a role as people do: `operator in project shop`.
func RoleWords(grant *skerryv1.Grant) string {
	if grant.GetProject() == "" {
		return grant.GetRole()
	}
	return grant.GetRole() + " in project " + grant.GetProject()
}

func namesOf(grants []*skerryv1.Grant) string {
	if len(grants) == 0 {
		return "none"
	}
	text := ""
	for i, grant := range grants {
		if i > 0 {
			text += ", "
		}
		text += RoleWords(grant)
	}
	return text
}
