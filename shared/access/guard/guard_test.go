package guard

import (
	"testing"

	"skerry.dev/shared/access"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

func TestWhoIsNotDeclaredIsRefused(t *testing.T) {
	operator := access.PrincipalOf("spiffe://reef/operator/mia")
	node := access.PrincipalOf("spiffe://reef/node/n1")
	voter := node
	voter.Caller = skerryv1.Caller_CALLER_VOTER
	workload := access.PrincipalOf("spiffe://reef/workload/shop/web")
	for _, test := range []struct {
		name      string
		who       access.Principal
		procedure string
		admitted  bool
	}{
		{"an operator reads", operator, "/skerry.v1.ResourceService/Get", true},
		{"a workload reads", workload, "/skerry.v1.ResourceService/Get", true},
		{"a node reads", node, "/skerry.v1.ResourceService/Get", false},
		{"a voter reads for itself", voter, "/skerry.v1.ResourceService/Get", false},
		{"a voter asks for logs", voter, "/skerry.v1.PlacementService/Logs", true},
		{"a node asks for logs", node, "/skerry.v1.PlacementService/Logs", false},
		{"a workload makes a token", workload, "/skerry.v1.SiteService/CreateToken", false},
		{"a node keeps its stream", node, "/skerry.site.v1.SyncService/Sync", true},
		{"an operator keeps a node's stream", operator, "/skerry.site.v1.SyncService/Sync", false},
		{"somebody joins", access.Anybody, "/skerry.site.v1.JoinService/Join", true},
		{"somebody reads", access.Anybody, "/skerry.v1.ResourceService/Get", false},
		{"an operator calls what declares nothing", operator, "/skerry.v1.WishService/Grant", false},
		{"nobody of ours", access.PrincipalOf("spiffe://reef/king/arthur"), "/skerry.v1.ResourceService/Get", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Admit(test.who, access.RuleOf(test.procedure))
			if (err == nil) != test.admitted || (err != nil && problem.KindOf(err) != problem.Forbidden) {
				t.Errorf("it gave %v", err)
			}
		})
	}
}
