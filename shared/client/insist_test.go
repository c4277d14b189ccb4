package client

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// CreateToken gives the refusals one after the other, nil for no answer at all.
func (n *node) CreateToken(ctx context.Context, r *connect.Request[skerryv1.CreateTokenRequest]) (*connect.Response[skerryv1.CreateTokenResponse], error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, r.Msg.GetRequestId())
	if len(n.refusals) > 0 {
		refused := n.refusals[0]
		n.refusals = n.refusals[1:]
		if refused == nil {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, refused
	}
	return connect.NewResponse(&skerryv1.CreateTokenResponse{Token: "t"}), nil
}

func TestAWriteIsAskedForAgainWhileTheCoordinatorChanges(t *testing.T) {
	deposed := connect.NewError(connect.CodeUnavailable, errors.New("n1 is not the coordinator"))
	taken := connect.NewError(connect.CodeAlreadyExists, errors.New("the name is taken"))
	for name, c := range map[string]struct {
		id       string
		insist   time.Duration
		refusals []error
		asked    int
		says     string
	}{
		"a write":                     {id: "w1", insist: time.Minute, refusals: []error{deposed, deposed}, asked: 3},
		"one that is refused":         {id: "w1", insist: time.Minute, refusals: []error{taken}, asked: 1, says: "taken"},
		"one that is refused at last": {id: "w1", insist: time.Minute, refusals: []error{deposed, taken}, asked: 2, says: "taken"},
		"one that would happen twice": {insist: time.Minute, refusals: []error{deposed}, asked: 1, says: "not the coordinator"},
		"one that cannot wait":        {id: "w1", refusals: []error{deposed}, asked: 1, says: "not the coordinator"},
		"one that nobody takes":       {id: "w1", insist: 3 * askAgain / 2, refusals: slices.Repeat([]error{deposed}, 100), says: "not the coordinator"},
	} {
		t.Run(name, func(t *testing.T) {
			n := &node{voter: true, quorum: true, refusals: c.refusals}
			_, http := serve(t, map[string]*node{"n1:7600": n})
			client := New(http, []string{"n1:7600"})
			client.Insist = c.insist
			_, err := client.Site().CreateToken(t.Context(), connect.NewRequest(&skerryv1.CreateTokenRequest{RequestId: c.id}))
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("the answer is %v", err)
			}
			if asked := len(n.asked); asked != c.asked && (c.asked > 0 || asked < 2 || asked == 101) {
				t.Errorf("it was asked for %d times, not %d", asked, c.asked)
			}
			if slices.ContainsFunc(n.asked, func(id string) bool { return id != c.id }) {
				t.Errorf("not with the same ID: %q", n.asked)
			}
		})
	}
}

func TestWhyAWriteWasRefusedIsToldWhenTheTimeIsUp(t *testing.T) {
	deposed := connect.NewError(connect.CodeUnavailable, errors.New("n1 is not the coordinator"))
	n := &node{voter: true, quorum: true, refusals: []error{deposed, nil}}
	_, http := serve(t, map[string]*node{"n1:7600": n})
	client := New(http, []string{"n1:7600"})
	client.Insist = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 3*askAgain)
	defer cancel()
	_, err := client.Site().CreateToken(ctx, connect.NewRequest(&skerryv1.CreateTokenRequest{RequestId: "w1"}))
	if connect.CodeOf(err) != connect.CodeUnavailable || !strings.Contains(err.Error(), "not the coordinator") {
		t.Errorf("the answer is %v", err)
	}
}
