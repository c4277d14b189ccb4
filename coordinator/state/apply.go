package state

import (
	"errors"
	"fmt"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	// maxMessage bounds texts for people, in bytes.
	maxMessage = 1024
	// maxRequestID bounds what the memory of requests holds.
	maxRequestID = 128
)

// Apply carries out one entry of the log, wholly or not at all, and says what
// became of it. Indexes must rise. The entry belongs to the state afterwards.
//
// It panics, before anything has changed, on a kind of entry that this version
// does not know: the voter must halt, because it cannot follow.
func (s *Store) Apply(index uint64, entry *sitev1.Entry) *sitev1.Outcome {
	x := s.begin(index, stampOf(entry))
	x.audit.term = max(x.audit.term, entry.GetTerm())
	if len(entry.GetRequestId()) <= maxRequestID {
		if done := s.requests.byID[entry.GetRequestId()]; done != nil {
			outcome, digest, same := s.repeated(done, entry, index)
			if same {
				x.keepQueued(entry, outcome) // it was made before it could be queued
			}
			s.publish(x)
			if !same {
				s.record(entry, digest, outcome)
			}
			return outcome
		}
	}
	if x.judgeAgain(entry) {
		s.publish(x)
		return &sitev1.Outcome{ErrorKind: string(problem.Conflict), JudgeAgain: true, Index: index,
			Error: "who may do what, or what it is about, has changed since this was judged"}
	}
	keep := remembered(entry) && len(entry.GetRequestId()) <= maxRequestID
	var digest, sum []byte
	recorded := audited(entry)
	if keep || recorded {
		digest, sum = s.hasher.asked(entry, identity(entry))
	}
	err := x.checkQueued(entry)
	var outcome *sitev1.Outcome
	if err == nil {
		outcome, err = x.apply(entry)
	}
	if err == nil {
		err = x.checkAdmin()
		x.followNodes()
	}
	if err != nil {
		x = s.begin(index, stampOf(entry))
		x.audit.term = max(x.audit.term, entry.GetTerm())
		outcome = refusal(err)
	}
	outcome.Index = index
	x.keepQueued(entry, outcome)
	s.publish(x)
	if recorded {
		s.record(entry, sum, outcome)
	}
	if keep {
		s.requests.add(&s.hasher, &sitev1.DoneRequest{
			RequestId: entry.GetRequestId(), Index: index, Outcome: forMemory(outcome), Digest: digest,
		})
	}
	return outcome
}

func (x *tx) apply(entry *sitev1.Entry) (*sitev1.Outcome, error) {
	if len(entry.GetRequestId()) > maxRequestID {
		return nil, problem.New(problem.Invalid, "", "it is longer than %d bytes", maxRequestID).WithField("requestId")
	}
	x.by = bounded(entry.GetPrincipal(), maxPrincipal)
	change := entry.GetChange()
	if init, ok := change.(*sitev1.Entry_InitSite); ok {
		return x.initSite(init.InitSite)
	}
	if change != nil && x.site == "" {
		return nil, problem.New(problem.Conflict, "site", "it has not been made yet")
	}
	switch change := change.(type) {
	case *sitev1.Entry_ApplyResources:
		return x.applyResources(change.ApplyResources)
	case *sitev1.Entry_DeleteResource:
		return x.deleteResource(change.DeleteResource)
	case *sitev1.Entry_CreateToken:
		return x.createToken(change.CreateToken)
	case *sitev1.Entry_JoinSite:
		return x.joinSite(change.JoinSite)
	case *sitev1.Entry_Plan:
		return x.plan(change.Plan)
	case *sitev1.Entry_StatusBatch:
		return x.statusBatch(change.StatusBatch)
	case *sitev1.Entry_ChangeDuty:
		return x.changeDuty(change.ChangeDuty)
	case *sitev1.Entry_RelabelNode:
		return x.relabelNode(change.RelabelNode)
	case *sitev1.Entry_ConfirmOff:
		return x.confirmOff(change.ConfirmOff)
	case *sitev1.Entry_SetNodeState:
		return x.setNodeState(change.SetNodeState)
	case *sitev1.Entry_AddImage:
		return x.addImage(change.AddImage)
	case *sitev1.Entry_ExtendTrust:
		return x.extendTrust(change.ExtendTrust)
	case *sitev1.Entry_ChangeGrants:
		return x.changeGrants(change.ChangeGrants)
	case *sitev1.Entry_EvictNode:
		return x.evictNode(change.EvictNode)
	case *sitev1.Entry_CreateLocalOperator:
		return x.createLocalOperator(change.CreateLocalOperator)
	case *sitev1.Entry_RevokeOperator:
		return x.revokeOperator(change.RevokeOperator)
	case *sitev1.Entry_RotateAuthorities:
		return x.rotateAuthorities()
	case *sitev1.Entry_RotateGossip:
		return x.rotateGossip(change.RotateGossip)
	case *sitev1.Entry_AdvanceGossip:
		return x.advanceGossip(change.AdvanceGossip)
	case *sitev1.Entry_RotateImageKey:
		return x.rotateImageKey(change.RotateImageKey)
	case *sitev1.Entry_RevokeToken:
		return x.revokeToken(change.RevokeToken)
	case *sitev1.Entry_SetSiteTime:
		return x.setSiteTime(change.SetSiteTime)
	case *sitev1.Entry_AddSecretKey:
		return x.addSecretKey(change.AddSecretKey)
	case *sitev1.Entry_WrapSecretKey:
		return x.wrapSecretKey(change.WrapSecretKey)
	case *sitev1.Entry_RewrapSecrets:
		return x.rewrapSecrets(change.RewrapSecrets)
	case *sitev1.Entry_RevealSecret:
		return x.revealSecret(change.RevealSecret)
	case *sitev1.Entry_AddRecoveryKey:
		return x.addRecoveryKey(change.AddRecoveryKey)
	case *sitev1.Entry_RemoveRecoveryKey:
		return x.removeRecoveryKey(change.RemoveRecoveryKey)
	case *sitev1.Entry_AddCheckpoint:
		return x.addCheckpoint(change.AddCheckpoint)
	case *sitev1.Entry_RecordRefusals:
		return x.recordRefusals(change.RecordRefusals)
	case *sitev1.Entry_SetPower:
		return x.setPower(change.SetPower)
	case *sitev1.Entry_StopSite:
		return x.stopSite(change.StopSite)
	case *sitev1.Entry_StartSite:
		return x.startSite(change.StartSite)
	case *sitev1.Entry_StartRebalance:
		return x.startRebalance(change.StartRebalance)
	case *sitev1.Entry_StopRebalance:
		return x.stopRebalance()
	case *sitev1.Entry_StartRun:
		return x.startRunNow(change.StartRun)
	case *sitev1.Entry_SteerRollout:
		return x.steerRollout(change.SteerRollout)
	case *sitev1.Entry_RecordExec:
		return x.recordExec(change.RecordExec)
	case *sitev1.Entry_RecordReads:
		return x.recordReads(change.RecordReads)
	case *sitev1.Entry_ArchiveAudit:
		return x.archiveAudit(change.ArchiveAudit)
	case *sitev1.Entry_RecoverSite:
		return x.recoverSite(change.RecoverSite)
	case *sitev1.Entry_AdoptNode:
		return x.adoptNode(change.AdoptNode)
	case *sitev1.Entry_RecordBackup:
		return x.recordBackup(change.RecordBackup)
	case *sitev1.Entry_RefuseQueued:
		return nil, refuseQueued(change.RefuseQueued)
	case *sitev1.Entry_CheckHash:
		return &sitev1.Outcome{}, nil // compared by the replica
	default:
		panic(fmt.Sprintf("state: entry %d is a %T, which this version of Skerry does not know: update this node", x.index, change))
	}
}

// refusal is the outcome of an entry that was not carried out.
func refusal(err error) *sitev1.Outcome {
	var p *problem.Error
	if !errors.As(err, &p) {
		panic(fmt.Sprintf("state: a refusal without a kind: %v", err))
	}
	bare := &problem.Error{Kind: p.Kind, Message: p.Message, Err: p.Err}
	return &sitev1.Outcome{
		ErrorKind: string(p.Kind),
		Error:     bounded(bare.Error(), maxMessage),
		Detail:    &skerryv1.ErrorDetail{Subject: p.Subject, Field: p.Field, Hint: p.Hint},
	}
}

// Refusal is the error that an outcome carries, the opposite of refusal; nil when
// the entry was carried out.
func Refusal(outcome *sitev1.Outcome) error {
	if outcome.GetErrorKind() == "" {
		return nil
	}
	return &problem.Error{
		Kind:    problem.Kind(outcome.GetErrorKind()),
		Subject: outcome.GetDetail().GetSubject(),
		Field:   outcome.GetDetail().GetField(),
		Message: outcome.GetError(),
		Hint:    outcome.GetDetail().GetHint(),
	}
}

// bounded cuts a text to at most limit bytes, at the border of a character.
func bounded(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	cut := limit - len("…")
	for cut > 0 && text[cut]&0xC0 == 0x80 {
		cut--
	}
	return text[:cut] + "…"
}
