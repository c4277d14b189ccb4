// Command spiffepeer is a program as users write them: it gets its identity from
// the SPIFFE Workload API with go-spiffe's own client, and speaks mutual TLS
// with it. The tests run it inside containers.
//
//	spiffepeer serve :8443 SPIFFE-ID    answers those with the ID
//	spiffepeer call HOST:8443 SPIFFE-ID [EXPECTED-ANSWER]
//	spiffepeer jwt AUDIENCE             prints a JWT-SVID
//	spiffepeer believe AUDIENCE JWT     prints of whom a JWT-SVID is
//	spiffepeer watch                    prints each SVID as it comes
//	spiffepeer deny                     succeeds when it is refused
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// patience bounds what is done once.
const patience = 20 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "spiffepeer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "serve":
		return serve(ctx, args[1], args[2])
	case len(args) == 3 && args[0] == "call":
		return call(ctx, args[1], args[2])
	case len(args) == 1 && args[0] == "watch":
		return workloadapi.WatchX509Context(ctx, printer{})
	case len(args) == 2 && args[0] == "jwt":
		return token(ctx, args[1])
	case len(args) == 3 && args[0] == "believe":
		return believe(ctx, args[1], args[2])
	case len(args) == 1 && args[0] == "deny":
		return deny(ctx)
	}
	return errors.New("serve ADDRESS ID, call ADDRESS ID, jwt AUDIENCE, believe AUDIENCE JWT, watch or deny")
}

func source(ctx context.Context, id string) (*workloadapi.X509Source, tlsconfig.Authorizer, error) {
	expected, err := spiffeid.FromString(id)
	if err != nil {
		return nil, nil, err
	}
	svids, err := workloadapi.NewX509Source(ctx)
	return svids, tlsconfig.AuthorizeID(expected), err
}

func serve(ctx context.Context, address, id string) error {
	svids, authorize, err := source(ctx, id)
	if err != nil {
		return err
	}
	defer func() { _ = svids.Close() }() // the program ends
	server := &http.Server{
		Addr: address, TLSConfig: tlsconfig.MTLSServerConfig(svids, svids, authorize), ReadHeaderTimeout: patience,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			caller := r.TLS.PeerCertificates[0]
			_, _ = fmt.Fprintf(w, "%s serial %x\n", caller.URIs[0], caller.SerialNumber) // to whoever still listens
		}),
	}
	context.AfterFunc(ctx, func() { _ = server.Close() }) // the program ends
	fmt.Println("serving")
	if err := server.ListenAndServeTLS("", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// call prints how the other side sees this one, and the other side's serial.
func call(ctx context.Context, address, id string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	svids, authorize, err := source(ctx, id)
	if err != nil {
		return err
	}
	defer func() { _ = svids.Close() }() // the program ends
	config := tlsconfig.MTLSClientConfig(svids, svids, authorize)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	answer, err := io.ReadAll(response.Body)
	fmt.Printf("peer serial %x, it sees %s", serial(response.TLS), answer)
	return err
}

func serial(state *tls.ConnectionState) []byte { return state.PeerCertificates[0].SerialNumber.Bytes() }

// token prints a JWT-SVID for an audience.
func token(ctx context.Context, audience string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	svid, err := workloadapi.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience})
	if err != nil {
		return err
	}
	fmt.Println(svid.Marshal())
	return nil
}

// believe judges a JWT-SVID by the site's keys, and has the node judge it.
func believe(ctx context.Context, audience, token string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	keys, err := workloadapi.NewJWTSource(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = keys.Close() }() // the program ends
	svid, err := jwtsvid.ParseAndValidate(token, keys, []string{audience})
	if err != nil {
		return err
	}
	judged, err := workloadapi.ValidateJWTSVID(ctx, token, audience)
	if err != nil {
		return err
	}
	fmt.Printf("it is of %s, and the node says %s\n", svid.ID, judged.ID)
	return nil
}

// deny asks, and wants to be refused.
func deny(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // the program ends
	_, err = client.FetchX509SVID(ctx)
	if status.Code(err) != codes.PermissionDenied {
		return fmt.Errorf("it gave %w", err)
	}
	fmt.Println(err)
	return nil
}

// printer prints what comes over the stream.
type printer struct{}

func (printer) OnX509ContextUpdate(c *workloadapi.X509Context) {
	leaf := c.DefaultSVID().Certificates[0]
	fmt.Printf("svid %s serial %x until %s verified %v\n", c.DefaultSVID().ID, leaf.SerialNumber, leaf.NotAfter.Format(time.RFC3339), verified(c, leaf))
}

func (printer) OnX509ContextWatchError(err error) { fmt.Println("error", err) }

func verified(c *workloadapi.X509Context, leaf *x509.Certificate) bool {
	bundle, err := c.Bundles.GetX509BundleForTrustDomain(c.DefaultSVID().ID.TrustDomain())
	if err != nil {
		return false
	}
	roots := x509.NewCertPool()
	for _, ca := range bundle.X509Authorities() {
		roots.AddCert(ca)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}
