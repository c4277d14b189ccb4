package cli

import (
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

type versionOptions struct {
	*app
	output outputFlag
}

// build says what this binary is.
type build struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand(a *app) *cobra.Command {
	o := &versionOptions{app: a}
	cmd := &cobra.Command{
		Use:     "version",
		GroupID: GroupSite,
		Short:   "Show the version of this binary",
		Long:    "Version shows what this binary is, without asking anybody. The versions of the\nnodes are in: skerry node list.",
		Example: "  skerry version\n  skerry version -o json",
		Args:    Args(0, 0),
		RunE:    o.run,
	}
	o.output.add(cmd, false)
	return cmd
}

func (o *versionOptions) run(*cobra.Command, []string) error {
	b := build{Version: o.Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if !o.output.isData() {
		_, err := fmt.Fprintf(o.Out, "skerry %s (%s, %s)\n", b.Version, b.Go, b.Platform)
		return err
	}
	encoded, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return o.output.writeJSON(o.Out, encoded)
}
