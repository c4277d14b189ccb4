package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

// problems is the interceptor that turns every error into the API's form, and
// marks answers that may be out of date.
type problems struct {
	logger  *slog.Logger
	refused Refused
}

func (p problems) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		response, err := next(ctx, request)
		if err != nil {
			return nil, p.convert(ctx, request.Spec().Procedure, err)
		}
		answer, ok := response.Any().(interface{ GetFreshness() *skerryv1.Freshness })
		if ok && answer.GetFreshness().GetStale() {
			response.Header().Set(client.StaleHeader, "true")
		}
		return response, nil
	}
}

func (p problems) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (p problems) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := next(ctx, conn); err != nil {
			return p.convert(ctx, conn.Spec().Procedure, err)
		}
		return nil
	}
}

func (p problems) convert(ctx context.Context, procedure string, err error) error {
	countRefusal(p.refused, principalFrom(ctx).ID, hostFrom(ctx), procedure, err)
	if problem.KindOf(err) == problem.Internal && !errors.As(err, new(*connect.Error)) {
		p.logger.Error("call failed", "procedure", procedure, "error", err)
	}
	return problem.ToConnect(err)
}

// writeError answers a call that reached no handler.
func writeError(w http.ResponseWriter, r *http.Request, err error) {
	// The only failure left is a connection that is gone.
	_ = connect.NewErrorWriter().Write(w, r, problem.ToConnect(err))
}

// outcomeError is the refusal that an outcome carries, nil for none. The audit
// log has it already.
func outcomeError(outcome *sitev1.Outcome) error {
	err := state.Refusal(outcome)
	var p *problem.Error
	if errors.As(err, &p) {
		p.Err = errRecorded
	}
	return err
}

// strictJSON is Connect's JSON codec, but an unknown field is an error: a
// misspelt field must not be a silent no-op.
type strictJSON struct{ name string }

func (c strictJSON) Name() string { return c.name }

func (c strictJSON) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, errors.New("not a protobuf message")
	}
	return protojson.Marshal(m)
}

func (c strictJSON) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return errors.New("not a protobuf message")
	}
	if len(data) == 0 {
		return nil // Connect allows an empty body for an empty request
	}
	return protojson.Unmarshal(data, m)
}
