package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// issued is a certificate with its key, in PEM, and as those who sign need it.
type issued struct {
	certificate, key []byte
	parsed           *x509.Certificate
	signer           *ecdsa.PrivateKey
}

// issue makes a certificate for a service, or an authority if nobody signs it.
func issue(t testing.TB, name string, by *issued) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Minute),
		NotAfter:     time.Now().Add(time.Hour),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if by == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		by = &issued{parsed: template, signer: key}
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, by.parsed, key.Public(), by.signer)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	rawKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rawKey}),
		parsed, key,
	}
}

// replaceFile puts the content there in one step.
func replaceFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// folder is where the certificate of somebody is, its key and the authority.
type folder string

func newFolder(t testing.TB, name string, by, trusted *issued) folder {
	t.Helper()
	f := folder(t.TempDir())
	f.put(t, issue(t, name, by))
	f.trust(t, trusted)
	return f
}

func (f folder) file(name string) string { return filepath.Join(string(f), name) }

func (f folder) put(t testing.TB, own *issued) {
	t.Helper()
	replaceFile(t, f.file("key"), own.key)
	replaceFile(t, f.file("certificate"), own.certificate)
}

func (f folder) trust(t testing.TB, authorities ...*issued) {
	t.Helper()
	var bundle [][]byte
	for _, authority := range authorities {
		bundle = append(bundle, authority.certificate)
	}
	replaceFile(t, f.file("authority"), bytes.Join(bundle, nil))
}

func (f folder) settings() []string {
	return []string{tlsCertificate + "=" + f.file("certificate"), tlsKey + "=" + f.file("key"), tlsAuthority + "=" + f.file("authority")}
}

func (f folder) identity(t testing.TB) *identity {
	t.Helper()
	c, err := readConfig(environ(f.settings()...))
	if err != nil {
		t.Fatal(err)
	}
	return c.identity
}

// serving takes callers of the authority only, with what the folder holds at each connection.
func (f folder) serving(t testing.TB) grpc.ServerOption {
	t.Helper()
	own, log := f.identity(t), slog.New(slog.DiscardHandler)
	return grpc.Creds(credentials.NewTLS(&tls.Config{
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now := own.now(log)
			return &tls.Config{
				Certificates: now.Certificates,
				ClientCAs:    now.RootCAs,
				ClientAuth:   tls.RequireAndVerifyClientCert,
				NextProtos:   []string{"h2"},
			}, nil
		},
	}))
}

func TestTheGatewayAndAServiceShowEachOtherTheirCertificates(t *testing.T) {
	ours, theirs := issue(t, "authority", nil), issue(t, "authority", nil)
	for _, c := range []struct {
		promise string
		server  []grpc.ServerOption
		gateway folder
		status  int
	}{
		{"and the call is made", []grpc.ServerOption{newFolder(t, "loms", ours, ours).serving(t)}, newFolder(t, "gateway", ours, ours), 200},
		{"and a service of another name is not called",
			[]grpc.ServerOption{newFolder(t, "cart", ours, ours).serving(t)}, newFolder(t, "gateway", ours, ours), 503},
		{"and a service of another authority is not called",
			[]grpc.ServerOption{newFolder(t, "loms", theirs, ours).serving(t)}, newFolder(t, "gateway", ours, ours), 503},
		{"and a service that does not encrypt is not called", nil, newFolder(t, "gateway", ours, ours), 503},
		{"and a gateway of another authority is refused",
			[]grpc.ServerOption{newFolder(t, "loms", ours, ours).serving(t)}, newFolder(t, "gateway", theirs, ours), 503},
	} {
		t.Run(c.promise, func(t *testing.T) {
			u := newUpstream(t, c.server...)
			g := start(t, u.address, func(s *setup) { s.identity = c.gateway.identity(t) })
			got := g.ask(t, "GET", "/stock/info?sku=1", "")
			if got.StatusCode != c.status || strings.Contains(got.text, u.address) || (u.calls > 0) != (c.status == 200) {
				t.Error(got.StatusCode, got.text, u.calls)
			}
		})
	}
}

func TestAGatewayWithoutACertificateIsRefusedByAServiceWithOne(t *testing.T) {
	ours := issue(t, "authority", nil)
	u := newUpstream(t, newFolder(t, "loms", ours, ours).serving(t))
	if got := start(t, u.address).ask(t, "GET", "/stock/info?sku=1", ""); got.StatusCode != 503 || u.calls != 0 {
		t.Error(got.StatusCode, got.text, u.calls)
	}
}

func TestEachReplicaHasToNameTheService(t *testing.T) {
	ours := issue(t, "authority", nil)
	right, wrong := newUpstream(t, newFolder(t, "loms", ours, ours).serving(t)), newUpstream(t, newFolder(t, "cart", ours, ours).serving(t))
	own := newFolder(t, "gateway", ours, ours).identity(t)
	g := start(t, right.address+","+wrong.address, func(s *setup) { s.identity = own })
	for range 20 {
		if got := g.ask(t, "GET", "/stock/info?sku=1", ""); got.StatusCode != 200 {
			t.Fatal(got.StatusCode, got.text)
		}
	}
	if right.calls != 20 || wrong.calls != 0 {
		t.Error(right.calls, wrong.calls)
	}
}

func TestNoRequestFailsWhileAllCertificatesAreReplaced(t *testing.T) {
	former, next := issue(t, "authority", nil), issue(t, "authority", nil)
	ofGateway, ofLoms := newFolder(t, "gateway", former, former), newFolder(t, "loms", former, former)
	// Connections are short, so that certificates are shown again and again.
	short := grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 10 * time.Millisecond, MaxConnectionAgeGrace: time.Second})
	u := newUpstream(t, ofLoms.serving(t), short)
	g := start(t, u.address, func(s *setup) { s.identity = ofGateway.identity(t) })
	asked := func() {
		for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
			if got := g.ask(t, "GET", "/stock/info?sku=1", ""); got.StatusCode != 200 {
				t.Fatal(got.StatusCode, got.text, g.log)
			}
		}
	}
	asked()
	for _, f := range []folder{ofGateway, ofLoms} {
		f.trust(t, former, next)
		asked()
	}
	for f, name := range map[folder]string{ofGateway: "gateway", ofLoms: "loms"} {
		f.put(t, issue(t, name, next))
		asked()
	}
	for _, f := range []folder{ofGateway, ofLoms} {
		f.trust(t, next)
		asked()
	}
	for by, status := range map[*issued]int{former: 503, next: 200} {
		other := newFolder(t, "gateway", by, next).identity(t)
		got := start(t, u.address, func(s *setup) { s.identity = other }).ask(t, "GET", "/stock/info?sku=1", "")
		if got.StatusCode != status {
			t.Error("of another gateway:", got.StatusCode, got.text)
		}
	}
}

func TestWhatCannotBeUsedIsLoggedAndTheFormerCertificatesStay(t *testing.T) {
	ours := issue(t, "authority", nil)
	u, f := newUpstream(t, newFolder(t, "loms", ours, ours).serving(t)), newFolder(t, "gateway", ours, ours)
	g := start(t, u.address, func(s *setup) { s.identity = f.identity(t) })
	replaceFile(t, f.file("key"), issue(t, "gateway", ours).key)
	if got := g.ask(t, "GET", "/stock/info?sku=1", ""); got.StatusCode != 200 {
		t.Error(got.StatusCode, got.text)
	}
	if log := g.log.String(); !strings.Contains(log, "new certificates cannot be used") || !strings.Contains(log, tlsKey) {
		t.Error(log)
	}
}

func TestTheSettingsOfTLSAreThreeFilesOrNone(t *testing.T) {
	ours := issue(t, "authority", nil)
	f := newFolder(t, "gateway", ours, ours)
	writeFile(t, f.file("nonsense"), "nonsense")
	all := f.settings()
	for _, c := range []struct {
		promise  string
		settings []string
		want     string
	}{
		{"three files", all, ""},
		{"no certificate", all[1:], tlsCertificate + " is not set"},
		{"no key", []string{all[0], all[2]}, tlsKey + " is not set"},
		{"no authority", all[:2], tlsAuthority + " is not set"},
		{"one of three", all[:1], tlsKey + " is not set\n" + tlsAuthority + " is not set"},
		{"an empty name", []string{all[0], all[1], tlsAuthority + "="}, tlsAuthority + " is not set"},
		{"files that are missing", []string{tlsCertificate + "=a", tlsKey + "=b", tlsAuthority + "=c"},
			tlsCertificate + `="a": it cannot be read` + "\n" + tlsKey + `="b": it cannot be read` + "\n" + tlsAuthority + `="c": it cannot be read`},
		{"nonsense for certificates", []string{tlsCertificate + "=" + f.file("nonsense"), all[1], tlsAuthority + "=" + f.file("nonsense")},
			tlsCertificate + `="` + f.file("nonsense") + `": there is no certificate in it` + "\n" +
				tlsAuthority + `="` + f.file("nonsense") + `": there is no certificate in it`},
		{"nonsense for a key", []string{all[0], tlsKey + "=" + f.file("nonsense"), all[2]},
			tlsKey + `="` + f.file("nonsense") + `": it is not the key of the certificate, unencrypted`},
		{"a key for a file", []string{all[0], tlsKey + "=-----BEGIN PRIVATE KEY-----", all[2]}, tlsKey + `="…": it cannot be read`},
	} {
		t.Run(c.promise, func(t *testing.T) {
			config, err := readConfig(environ(c.settings...))
			if got := text(err); got != c.want || config.identity == nil {
				t.Error(got)
			}
		})
	}
	if c, err := readConfig(environ()); err != nil || c.identity != nil {
		t.Error("TLS is not off by default:", err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
