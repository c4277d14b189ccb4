package orders

import (
	"errors"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// End is the last message of a stream that ends for a reason.
func End(reason error) *sitev1.SyncResponse {
	reason = problem.FromConnect(reason)
	end := &sitev1.SyncEnd{Kind: string(problem.KindOf(reason)), Message: reason.Error()}
	if p := (*problem.Error)(nil); errors.As(reason, &p) {
		end.Message = (&problem.Error{Kind: p.Kind, Message: p.Message, Err: p.Err}).Error()
		end.Detail = &skerryv1.ErrorDetail{Subject: p.Subject, Field: p.Field, Hint: p.Hint}
	}
	return &sitev1.SyncResponse{Message: &sitev1.SyncResponse_End{End: end}}
}

// Reason is the opposite of End.
func Reason(end *sitev1.SyncEnd) error {
	return &problem.Error{
		Kind: problem.Kind(end.GetKind()), Subject: end.GetDetail().GetSubject(), Field: end.GetDetail().GetField(),
		Message: end.GetMessage(), Hint: end.GetDetail().GetHint(),
	}
}
