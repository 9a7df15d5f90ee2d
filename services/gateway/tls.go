package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	tlsCertificate = "GATEWAY_TLS_CERTIFICATE"
	tlsKey         = "GATEWAY_TLS_KEY"
	tlsAuthority   = "GATEWAY_TLS_AUTHORITY"
)

// identity is what the gateway shows to services, and how it knows them.
type identity struct {
	certificate, key, authority string // files

	mu     sync.Mutex
	usable *tls.Config // that was read last
}

// identity takes three files or none; without them, calls are not encrypted.
func (e *environment) identity() *identity {
	certificate, certificateIsSet := e.lookup(tlsCertificate)
	key, keyIsSet := e.lookup(tlsKey)
	authority, authorityIsSet := e.lookup(tlsAuthority)
	if !certificateIsSet && !keyIsSet && !authorityIsSet {
		return nil
	}
	i := &identity{certificate: certificate, key: key, authority: authority}
	var mistakes []error
	i.usable, mistakes = i.read()
	e.mistakes = append(e.mistakes, mistakes...)
	return i
}

// read gives what the files hold now, and an error for each that cannot be used.
func (i *identity) read() (*tls.Config, []error) {
	certificate, errCertificate := readPEM(tlsCertificate, i.certificate)
	key, errKey := readPEM(tlsKey, i.key)
	authority, errAuthority := readPEM(tlsAuthority, i.authority)
	if errCertificate == nil {
		errCertificate = certificatesIn(tlsCertificate, i.certificate, certificate, x509.NewCertPool())
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if errCertificate == nil && errKey == nil && err != nil {
		errKey = unusable(tlsKey, i.key, "it is not the key of the certificate, unencrypted")
	}
	trusted := x509.NewCertPool()
	if errAuthority == nil {
		errAuthority = certificatesIn(tlsAuthority, i.authority, authority, trusted)
	}
	var mistakes []error
	for _, err := range []error{errCertificate, errKey, errAuthority} {
		if err != nil {
			mistakes = append(mistakes, err)
		}
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, RootCAs: trusted}, mistakes
}

func readPEM(variable, file string) ([]byte, error) {
	if file == "" {
		return nil, fmt.Errorf("%s is not set", variable)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, unusable(variable, file, "it cannot be read")
	}
	return content, nil
}

func certificatesIn(variable, file string, content []byte, pool *x509.CertPool) error {
	if !pool.AppendCertsFromPEM(content) {
		return unusable(variable, file, "there is no certificate in it")
	}
	return nil
}

// unusable does not show a key that somebody has put where its file belongs.
func unusable(variable, file, why string) error {
	if strings.Contains(file, "PRIVATE KEY") {
		file = "…"
	}
	return fmt.Errorf("%s=%q: %s", variable, file, why)
}

// now gives what the files hold; if that cannot be used, because it is being
// replaced or for good, what they held before.
func (i *identity) now(log *slog.Logger) *tls.Config {
	i.mu.Lock()
	defer i.mu.Unlock()
	config, mistakes := i.read()
	if mistakes != nil {
		log.Warn("new certificates cannot be used", "reason", errors.Join(mistakes...).Error())
		return i.usable
	}
	i.usable = config
	return config
}

// credentialsFor a service, whose certificate has to name it.
func (i *identity) credentialsFor(service string, log *slog.Logger) credentials.TransportCredentials {
	if i == nil {
		return insecure.NewCredentials()
	}
	return &renewed{credentials.NewTLS(&tls.Config{ServerName: service, MinVersion: tls.VersionTLS12}), i, service, log}
}

// renewed reads the certificates for each connection: those that are replaced are
// taken up without a restart.
type renewed struct {
	credentials.TransportCredentials
	identity *identity
	service  string
	log      *slog.Logger
}

func (r *renewed) ClientHandshake(
	ctx context.Context, authority string, conn net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	config := r.identity.now(r.log).Clone()
	config.ServerName = r.service
	return credentials.NewTLS(config).ClientHandshake(ctx, authority, conn)
}

func (r *renewed) Clone() credentials.TransportCredentials {
	return &renewed{r.TransportCredentials.Clone(), r.identity, r.service, r.log}
}
