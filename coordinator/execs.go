package coordinator

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/spool"
)

// maxHandedOver records of the spool are written at a time.
const maxHandedOver = 64

// openSpool reads what this voter could not bring into the log.
func (v *Voter) openSpool() error {
	opened, damaged, err := spool.Open(v.Env.FS, v.AuditDir+".spool")
	if err != nil {
		return err
	}
	if damaged != "" {
		v.Logger.Error("records for the audit log were damaged on disk and are missing in it", "kept", damaged)
	}
	v.spool = opened
	return nil
}

// execs implements api.Execs.
type execs struct{ v *Voter }

// Write implements api.Execs: the coordinator proposes, the others ask it to.
func (e execs) Write(ctx context.Context, record *sitev1.ExecRecord) (judgeAgain bool, err error) {
	status := e.v.node.Status()
	if !status.HasQuorum {
		return false, problem.New(problem.Unavailable, "audit log", "%s reaches no quorum", e.v.Node)
	}
	if status.Serving {
		return e.v.proposeExec(ctx, record)
	}
	leader := e.v.store.View().NodeOfReplica(status.Leader)
	if leader == nil || leader.GetName() == e.v.Node {
		return false, problem.New(problem.Unavailable, "audit log", "there is no coordinator")
	}
	answer, err := e.v.auditPeer(leader.GetName(), leader.GetAddress()).WriteExec(ctx,
		connect.NewRequest(&sitev1.WriteExecRequest{Record: record}))
	if err != nil {
		return false, problem.FromConnect(err)
	}
	return answer.Msg.GetJudgeAgain(), nil
}

// Keep implements api.Execs.
func (e execs) Keep(record *sitev1.ExecRecord) error {
	kept := proto.CloneOf(record)
	kept.AccessRevision = 0 // it was decided, and runs
	encoded, err := proto.Marshal(kept)
	if err != nil {
		return err
	}
	return e.v.spool.Add(encoded)
}

func (v *Voter) proposeExec(ctx context.Context, record *sitev1.ExecRecord) (judgeAgain bool, err error) {
	outcome, err := v.Propose(ctx, &sitev1.Entry{
		RequestId: record.GetRequestId(), Principal: record.GetPrincipal(), From: record.GetFrom(), AccessRevision: record.GetAccessRevision(),
		Change: &sitev1.Entry_RecordExec{RecordExec: record.GetExec()},
	})
	switch {
	case err != nil: // also when it may have become an entry: it can be repeated
		return false, problem.New(problem.Unavailable, "audit log", "the entry could not be written: %w", err)
	case outcome.GetJudgeAgain():
		return true, nil
	case outcome.GetErrorKind() != "":
		return false, problem.New(problem.Kind(outcome.GetErrorKind()), "audit log", "%s", outcome.GetError())
	default:
		return false, nil
	}
}

// writeSpooled brings into the log what waits on this voter's disk. What is
// written twice, because of a crash between, has the same request ID.
func (v *Voter) writeSpooled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, auditTime)
	defer cancel()
	for range maxHandedOver {
		encoded := v.spool.First()
		if encoded == nil || !v.node.Status().HasQuorum {
			return nil
		}
		record := &sitev1.ExecRecord{}
		if err := proto.Unmarshal(encoded, record); err != nil {
			v.Logger.Error("a record of the spool does not parse and is dropped", "error", err)
		} else if _, err := (execs{v}).Write(ctx, record); err != nil {
			if kind := problem.KindOf(err); kind != problem.Invalid && kind != problem.Conflict {
				return nil // the next round
			}
			v.Logger.Error("a record of the spool was refused", "request", record.GetRequestId(), "error", err)
		}
		if err := v.spool.Drop(encoded); err != nil {
			return err
		}
	}
	return nil
}

// WriteExec lets voters write on behalf of those who called them, and other nodes
// what they let happen while they were cut off. The entry names them as witness.
func (a auditPeer) WriteExec(ctx context.Context, req *connect.Request[sitev1.WriteExecRequest]) (*connect.Response[sitev1.WriteExecResponse], error) {
	node, leave, err := a.member(ctx)
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	defer leave()
	record := req.Msg.GetRecord()
	if record.GetExec() == nil || record.GetPrincipal() == "" || record.GetRequestId() == "" {
		return nil, problem.ToConnect(problem.New(problem.Invalid, "exec", "the record is not complete"))
	}
	record.Exec.Witness = node.GetName()
	if node.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER {
		record.AccessRevision = 0 // it was decided from the ledger, and runs
	}
	again, err := a.v.proposeExec(ctx, record)
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(&sitev1.WriteExecResponse{JudgeAgain: again}), nil
}
