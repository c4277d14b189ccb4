package state

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/endpoints"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	maxWorkloads = 10_000
	maxReplicas  = 10_000
	maxPriority  = 1000
	// maxResources of one entry.
	maxResources = 64
)

// What an apply did to a resource.
const (
	outcomeCreated    = "created"
	outcomeConfigured = "configured"
	outcomeUnchanged  = "unchanged"
)

func workloadKey(w *sitev1.WorkloadRecord) string {
	return key(w.GetWorkload().GetProject(), w.GetWorkload().GetName())
}

var workloads = table[*sitev1.WorkloadRecord]{
	name:    "workloads",
	key:     workloadKey,
	indexes: map[string]func(*sitev1.WorkloadRecord) string{byForm: formOf},
	ordinal: workloadsOrdinal,
}

// IsStay tells whether placements of the workload are bound to their node.
func IsStay(w *skerryv1.Workload) bool { return w.GetPartition().GetMode() == manifest.Stay }

func (x *tx) applyResources(change *sitev1.ApplyResources) (*sitev1.Outcome, error) {
	if len(change.GetResources()) > maxResources {
		return nil, problem.New(problem.Invalid, "", "%d resources at once, at most %d are taken", len(change.GetResources()), maxResources)
	}
	outcome := &sitev1.Outcome{Applied: make([]*skerryv1.AppliedResource, len(change.GetResources()))}
	if err := x.applySecrets(change, outcome); err != nil {
		return nil, err
	}
	for i, resource := range change.GetResources() {
		if resource.GetSecret() != nil {
			continue
		}
		applied, err := x.applyResource(resource)
		if err != nil {
			return nil, err
		}
		outcome.Applied[i] = applied
	}
	if err := x.checkAfter(change.GetResources()); err != nil {
		return nil, err
	}
	return outcome, nil
}

func (x *tx) applyResource(resource *skerryv1.Resource) (*skerryv1.AppliedResource, error) {
	switch kind := resource.GetKind().(type) {
	case *skerryv1.Resource_Workload:
		return x.applyWorkload(kind.Workload)
	case *skerryv1.Resource_AccessPolicy:
		return x.applyPolicy(kind.AccessPolicy)
	case *skerryv1.Resource_Project:
		return x.applyProject(kind.Project)
	case *skerryv1.Resource_Volume:
		return x.applyVolume(kind.Volume)
	case *skerryv1.Resource_Settings:
		return x.applySettings(kind.Settings)
	default:
		return nil, problem.New(problem.Invalid, "", "a resource of this kind cannot be applied").WithField("kind")
	}
}

func (x *tx) applyWorkload(given *skerryv1.Workload) (*skerryv1.AppliedResource, error) {
	record := workloads.get(x.rows, key(given.GetProject(), given.GetName()))
	change, err := decide(record.GetWorkload(), given, x.index, x.time)
	if err != nil {
		return nil, err
	}
	if err := checkSecretUses(x.rows, given); err != nil {
		return nil, err
	}
	if err := x.settleVolumes(given); err != nil {
		return nil, err
	}
	if err := x.fitsInPlace(given); err != nil {
		return nil, err
	}
	if err := x.settleForm(record.GetWorkload(), &change); err != nil {
		return nil, err
	}
	if err := x.checkLeaseStays(record.GetWorkload(), change.next); err != nil {
		return nil, err
	}
	about := subject{kind: "Workload", project: given.GetProject(), name: given.GetName()}
	if record == nil || change.specChanged { // labels ask for nothing
		if err := x.use(given.GetProject(), record.GetWorkload(), change.next); err != nil {
			return nil, err
		}
	}
	switch {
	case record == nil && x.counts[workloadsOrdinal] == maxWorkloads:
		return nil, exhausted("workloads", maxWorkloads)
	case record == nil:
		workloads.put(x, &sitev1.WorkloadRecord{Workload: change.next, NextNumber: x.firstNumber(change.next)})
		x.noteRevision(change.next)
		x.inform(about, "WorkloadCreated", "%s of %s", inWords(change.next), manifest.ImageOf(change.next))
	case change.outcome == outcomeConfigured:
		workloads.put(x, &sitev1.WorkloadRecord{Workload: change.next, NextNumber: record.GetNextNumber()})
		if change.specChanged {
			x.inform(about, "WorkloadChanged", "generation %d, %s of %s", change.next.GetGeneration(),
				inWords(change.next), manifest.ImageOf(change.next))
		}
		if change.specChanged {
			x.noteRevision(change.next)
			x.refreshPlacements(change.next)
		}
		x.relabelPlacements(change.next)
	}
	return applied(change), nil
}

// relabelPlacements of a workload: policies judge them by the labels that it has,
// not by those that it had when they were made.
func (x *tx) relabelPlacements(w *skerryv1.Workload) {
	for _, old := range placements.by(x.rows, byWorkload, key(w.GetProject(), w.GetName())) {
		if !maps.Equal(old.GetLabels(), w.GetLabels()) {
			p := shallow(old)
			p.Labels = w.GetLabels()
			x.putPlacement(p)
		}
	}
}

func applied(change workloadChange) *skerryv1.AppliedResource {
	return &skerryv1.AppliedResource{
		Resource: &skerryv1.Resource{Kind: &skerryv1.Resource_Workload{Workload: change.next}},
		Outcome:  change.outcome,
	}
}

// workloadChange is what an apply would do to one workload.
type workloadChange struct {
	outcome string
	next    *skerryv1.Workload
	// specChanged: something other than labels.
	specChanged bool
}

// decide compares a workload with the present one, nil if there is none, and
// makes the given one what it is to be.
func decide(present, given *skerryv1.Workload, index uint64, now *timestamppb.Timestamp) (workloadChange, error) {
	about := "Workload/" + bounded(given.GetName(), maxName)
	if err := checkWorkload(about, given); err != nil {
		return workloadChange{}, err
	}
	if present == nil && given.GetResourceVersion() != 0 {
		return workloadChange{}, problem.New(problem.Conflict, about, "it does not exist any more").
			WithField("resourceVersion").WithHint("leave the resource version out to create it")
	}
	if err := checkVersion(about, given.GetResourceVersion(), present.GetResourceVersion()); err != nil {
		return workloadChange{}, err
	}
	next := given // it belongs to the state
	next.Status = present.GetStatus()
	if present == nil {
		next.Generation, next.ResourceVersion, next.Created = 1, index, now
		return workloadChange{outcome: outcomeCreated, next: next}, nil
	}
	labels := given.GetLabels()
	next.Generation, next.ResourceVersion, next.Created = present.GetGeneration(), present.GetResourceVersion(), present.GetCreated()
	next.Labels = present.GetLabels()
	same := proto.Equal(next, present)
	if same && maps.Equal(labels, present.GetLabels()) {
		return workloadChange{outcome: outcomeUnchanged, next: present}, nil
	}
	change := workloadChange{outcome: outcomeConfigured, next: next}
	if !same {
		change.specChanged = true
		next.Generation++
	}
	next.Labels = labels
	next.ResourceVersion = index
	return change, nil
}

// checkWorkload refuses what the controllers could not live with. Style and
// limits of single fields are the API's business: they may change between
// versions, and what is refused here must not.
func checkWorkload(about string, w *skerryv1.Workload) error {
	invalid := func(field, format string, args ...any) error {
		return problem.New(problem.Invalid, about, format, args...).WithField(field)
	}
	if w.GetKind() != "Workload" {
		return invalid("kind", "it must be Workload")
	}
	if err := checkName("Workload", w.GetName()); err != nil {
		return err
	}
	if err := checkName("Project", w.GetProject()); err != nil {
		return err
	}
	if err := checkLabels(about, w.GetLabels()); err != nil {
		return err
	}
	if err := checkForm(about, w); err != nil {
		return err
	}
	if w.GetVm() != nil {
		if err := checkVM(invalid, w); err != nil {
			return err
		}
	} else if w.GetContainer().GetImage() == "" {
		return invalid("container.image", "it is missing")
	}
	if _, err := NeedsOf(w); err != nil {
		return invalid("container", "%w", err)
	}
	if err := checkPlace(about, w.GetPlace()); err != nil {
		return err
	}
	if err := checkUpdate(about, w); err != nil {
		return err
	}
	if w.GetPriority() > maxPriority {
		return invalid("priority", "it must be 0 to %d", maxPriority)
	}
	if _, err := manifest.Available(w.GetMinAvailable(), 0); err != nil {
		return invalid("minAvailable", "%w", err)
	}
	if mode := w.GetPartition().GetMode(); mode != manifest.Stay && mode != manifest.Replicate && mode != manifest.Exclusive {
		return invalid("partition.mode", "%q is none of replicate, stay and exclusive", bounded(mode, maxName))
	}
	if err := checkLease(about, w); err != nil {
		return err
	}
	if delay, err := manifest.Duration(w.GetPartition().GetReplaceAfter()); err != nil || delay < 0 {
		return invalid("partition.replaceAfter", "%q is not a length of time", bounded(w.GetPartition().GetReplaceAfter(), maxName))
	}
	return nil
}

// refreshPlacements gives the new generation to placements that run nothing
// yet, and to those that run the same already.
// What stays on a lost node keeps its promise: it was made before, and whoever
// knows that the machine is off deletes the placement and the node.
func (x *tx) refreshPlacements(next *skerryv1.Workload) {
	record := revisions.get(x.rows, key(next.GetProject(), next.GetName()))
	template := templateOf(next)
	for _, present := range placements.by(x.rows, byWorkload, key(next.GetProject(), next.GetName())) {
		if present.GetEnded() != nil {
			continue
		}
		runs := revisionOf(record, present.GetGeneration())
		same := runs != nil && SameTemplate(runs.GetTemplate(), next)
		here := present.GetNode() != "" && !same && inPlace(present.GetSpec(), next)
		if present.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN || (present.GetNode() != "" && !same && !here) {
			continue
		}
		if present.GetLostSince() != nil && IsStay(present.GetSpec()) && !IsStay(next) {
			continue
		}
		p := shallow(present)
		p.Generation, p.Spec = next.GetGeneration(), pinned(template, pinOf(present))
		if here {
			if !plugs(present.GetSpec(), next) {
				p.Power = powerOf(present)
				p.Power.Cycle++
				p.Power.Hard = false
			}
			x.bindVolumes(p.GetNode(), p.GetSpec())
		}
		if present.GetNode() != "" {
			p.Spec = withPorts(p.GetSpec(), present.GetSpec())
		}
		x.putPlacement(p)
	}
}

func (x *tx) deleteResource(change *sitev1.DeleteResource) (*sitev1.Outcome, error) {
	project, name, version := change.GetProject(), change.GetName(), change.GetResourceVersion()
	switch change.GetKind() {
	case "Workload":
		return x.deleteWorkload(project, name, version)
	case "AccessPolicy":
		return x.deletePolicy(name, version)
	case "Project":
		return x.deleteProject(name, version)
	case "Settings":
		return x.deleteSettings(name, version)
	case "Placement":
		return x.deletePlacement(project, name, version)
	case "Image":
		return x.deleteImage(name, version)
	case "Secret":
		return x.deleteSecret(project, name, version)
	case "Volume":
		return x.deleteVolume(change)
	case "Node":
		node := nodes.get(x.rows, name)
		if node == nil || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			return nil, missing("Node", name)
		}
		return x.removeNode(node, version)
	default:
		return nil, problem.New(problem.Invalid, "", "%q cannot be deleted", bounded(change.GetKind(), maxName)).
			WithField("kind").WithHint("workloads, placements, images, nodes, access policies and projects can")
	}
}

// deleteWorkload forgets the workload at once; its placements vanish when
// their nodes confirm that nothing of them is left.
func (x *tx) deleteWorkload(project, name string, version uint64) (*sitev1.Outcome, error) {
	record := workloads.get(x.rows, key(project, name))
	if record == nil {
		return nil, missing("Workload", name)
	}
	if err := checkVersion("Workload/"+name, version, record.GetWorkload().GetResourceVersion()); err != nil {
		return nil, err
	}
	if err := x.use(project, record.GetWorkload(), nil); err != nil {
		return nil, err
	}
	workloads.remove(x, key(project, name))
	revisions.remove(x, key(project, name))
	x.retire(record)
	for _, p := range placements.by(x.rows, byWorkload, key(project, name)) {
		x.stop(p)
	}
	x.tellWaiting(project, name)
	x.inform(subject{kind: "Workload", project: project, name: name}, "WorkloadDeleted", "its placements are stopped")
	return &sitev1.Outcome{}, nil
}

// IsHealthy tells whether a placement does its work: it runs on a node that is
// not lost, and its health check, if it has one, succeeds.
func IsHealthy(p *skerryv1.Placement) bool {
	return p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN &&
		p.GetLostSince() == nil &&
		endpoints.Works(p.GetSpec(), p.GetStatus())
}

// inWords is how many placements a workload asks for.
func inWords(w *skerryv1.Workload) string {
	if manifest.Form(w) == "replicas" {
		if w.GetReplicas() == 1 {
			return "1 replica"
		}
		return fmt.Sprintf("%d replicas", w.GetReplicas())
	}
	return manifest.Form(w)
}

func lower(kind string) string { return strings.ToLower(kind) }

// IsOf tells whether a placement of this name is, or was, one of the workload's.
func IsOf(placement, workload string) bool {
	number, found := strings.CutPrefix(placement, workload+"-")
	_, err := strconv.ParseUint(number, 10, 64)
	return found && err == nil
}

func placementName(workload string, number uint64) string {
	return fmt.Sprintf("%s-%d", workload, number)
}
