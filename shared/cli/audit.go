package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

// AuditVerifier checks what came out of an audit log, and asks nobody.
type AuditVerifier interface {
	// Exports checks files that continue one another.
	Exports(files []string, trusted AuditTrust) ([]AuditReport, error)
	// Entry checks that an entry is in the log of the operator's site.
	Entry(target Target, answer *skerryv1.ShowAuditResponse) (signedBy string, err error)
	// SiteID of the operator's site.
	SiteID(target Target) (string, error)
}

// AuditTrust is what a verifier knows beforehand.
type AuditTrust struct {
	SiteID, Key string
	// Checkpoints are signed notes that were kept from before.
	Checkpoints []string
}

// AuditReport says what a file holds that was verified.
type AuditReport struct {
	File     string    `json:"file"`
	Site     string    `json:"site"`
	SiteID   string    `json:"siteId"`
	First    uint64    `json:"first"`
	Size     uint64    `json:"size"`
	Root     string    `json:"root"`
	SignedBy string    `json:"signedBy"`
	Kept     int       `json:"checkpointsHeld"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
}

func auditCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use:     "audit COMMAND",
		GroupID: GroupSite,
		Short:   "The log of who changed what, and its proofs",
	})
	group.AddCommand(auditListCommand(a), auditShowCommand(a), auditCheckpointCommand(a),
		auditExportCommand(a), auditVerifyCommand(a), auditArchiveCommand(a))
	return group
}

const (
	defaultAudit = 100
	maxAudit     = 100_000
	// auditPage entries come with one call.
	auditPage = 1000
)

type auditList struct {
	*app
	principal, verb, resource, since string
	limit                            uint32
	output                           outputFlag
}

func auditListCommand(a *app) *cobra.Command {
	o := &auditList{app: a}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what was done and refused, newest first",
		Long: `List shows the entries of the audit log, newest first: number, time (UTC), who,
from which host, what, to which resource, and the result.`,
		Example: `  skerry audit list --limit 20
  skerry audit list --principal operator/alice --verb delete
  skerry audit list --resource Workload/default/web --since 24h -o json`,
		Args: Args(0, 0),
		RunE: o.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&o.principal, "principal", "", "only entries of this `ID`: a SPIFFE ID or its end, as operator/alice")
	flags.StringVar(&o.verb, "verb", "", "only entries of this `VERB`: apply, delete, join, refused, ...")
	flags.StringVar(&o.resource, "resource", "", "only entries about this `RESOURCE`: Workload/default/web, or Workload for all of them")
	flags.StringVar(&o.since, "since", "", "only entries since `TIME`: 2h ago, or 2026-01-31T08:00:00Z")
	flags.Uint32VarP(&o.limit, "limit", "n", defaultAudit, "only the newest `COUNT` entries")
	o.output.add(cmd, false)
	return cmd
}

func (o *auditList) run(cmd *cobra.Command, _ []string) error {
	if o.limit < 1 || o.limit > maxAudit {
		return problem.New(problem.Invalid, "", "--limit must be 1 to %d, not %d", maxAudit, o.limit)
	}
	since, err := o.moment()
	if err != nil {
		return err
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		all := &skerryv1.ListAuditResponse{}
		for before := uint64(0); ; {
			request := &skerryv1.ListAuditRequest{
				Principal: o.principal, Verb: o.verb, Resource: o.resource, Since: since, Before: before,
				Limit: min(o.limit-uint32(len(all.GetEntries())), auditPage),
			}
			answer, err := call(ctx, o.app, c.Audit().ListAudit, request)
			if err != nil {
				return err
			}
			all.Size, all.First, all.Freshness = answer.GetSize(), answer.GetFirst(), answer.GetFreshness()
			all.Entries = append(all.Entries, answer.GetEntries()...)
			before = nextPage(request, answer)
			if before == 0 || len(all.GetEntries()) >= int(o.limit) {
				return o.print(all)
			}
		}
	})
}

// nextPage is where to go on; 0 when there is no more.
func nextPage(request *skerryv1.ListAuditRequest, answer *skerryv1.ListAuditResponse) uint64 {
	if answer.GetMoreBefore() != 0 {
		return answer.GetMoreBefore()
	}
	entries := answer.GetEntries()
	if len(entries) < int(request.GetLimit()) {
		return 0
	}
	return entries[len(entries)-1].GetNumber() // 0 is the first of all
}

// moment is a time, or a length of time until now by this machine's clock.
func (o *auditList) moment() (*timestamppb.Timestamp, error) {
	if o.since == "" {
		return nil, nil
	}
	if ago, err := time.ParseDuration(o.since); err == nil && ago > 0 {
		return timestamppb.New(o.Clock.Now().Add(-ago)), nil
	}
	at, err := time.Parse(time.RFC3339, o.since)
	if err != nil {
		return nil, problem.New(problem.Invalid, "", "--since %q is no time", o.since).WithHint("24h, or 2026-01-31T08:00:00Z")
	}
	return timestamppb.New(at), nil
}

func (o *auditList) print(answer *skerryv1.ListAuditResponse) error {
	if o.output.isData() {
		return o.output.write(o.Out, answer)
	}
	if len(answer.GetEntries()) == 0 {
		_, err := fmt.Fprintln(o.Err, "no such entries") // scripts see no lines
		return err
	}
	t := newTable("NUMBER", "TIME", "PRINCIPAL", "FROM", "VERB", "RESOURCE", "RESULT")
	for _, e := range answer.GetEntries() {
		t.row(fmt.Sprint(e.GetNumber()), utc(e.GetTime().AsTime()), shortPrincipal(e.GetPrincipal()), e.GetFrom(),
			e.GetVerb(), strings.Join(e.GetResources(), ", "), auditResult(e))
	}
	return t.write(o.Out, "")
}

// shortPrincipal leaves out the trust domain, which is the site's.
func shortPrincipal(id string) string {
	if rest, ok := strings.CutPrefix(id, "spiffe://"); ok {
		if _, path, ok := strings.Cut(rest, "/"); ok {
			return path
		}
	}
	return id
}

func auditResult(e *skerryv1.AuditEntry) string {
	text := e.GetResult()
	if e.GetVerb() == "refused" {
		count := e.GetMore()
		for _, r := range e.GetRefusals() {
			count += r.GetCount()
		}
		return fmt.Sprintf("%d refused", count)
	}
	if e.GetVerb() == "logs" {
		count := e.GetMore()
		for _, r := range e.GetReads() {
			count += r.GetCount()
		}
		return fmt.Sprintf("%d read", count)
	}
	if e.GetCommand() != "" {
		text += ": " + e.GetCommand()
	}
	if e.GetMessage() != "" {
		text += ": " + e.GetMessage()
	}
	return text
}
