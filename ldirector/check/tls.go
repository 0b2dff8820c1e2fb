package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// Verify is how much of a server's certificate is looked at.
type Verify uint8

// The zero Verify trusts anyone, which is what a check of "does it answer" needs.
const (
	// VerifyNone looks at nothing.
	VerifyNone Verify = iota
	// VerifyChain wants a chain to a known authority, valid today; the name is
	// not looked at.
	VerifyChain
	// VerifyName wants the chain, and the name or address asked for in it.
	VerifyName
)

// TLS says how a probe speaks it.
type TLS struct {
	Verify Verify
	// ServerName is sent (SNI) and, with VerifyName, looked for in the
	// certificate. Empty: nothing is sent, and the address is looked for.
	ServerName string
	// CAFile is a PEM file of the authorities to trust instead of the system's
	// (which SSL_CERT_FILE names too).
	CAFile string
}

// config builds what crypto/tls needs to speak to peer, a bare address or name.
func (t TLS) config(peer string) (*tls.Config, error) {
	cfg := &tls.Config{ServerName: t.ServerName}
	if cfg.ServerName == "" {
		cfg.ServerName = peer // never sent when it is an address
	}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, local(fmt.Errorf("certificates to trust: %w", err))
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, local(fmt.Errorf("no certificate found in %s", t.CAFile))
		}
	}
	if t.Verify == VerifyName {
		return cfg, nil
	}
	cfg.InsecureSkipVerify = true // and do what is wanted below
	if t.Verify == VerifyChain {
		roots := cfg.RootCAs
		cfg.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, roots) }
	}
	return cfg, nil
}

func verifyChain(s tls.ConnectionState, roots *x509.CertPool) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server sent no certificate")
	}
	opts := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(opts)
	return err
}

// overTLS speaks TLS on a fresh connection and words what goes wrong.
func (x exchange) overTLS(ctx context.Context, c net.Conn, cfg *tls.Config) (*tls.Conn, error) {
	t, err := startTLS(ctx, c, cfg)
	if err == nil {
		return t, nil
	}
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &authority):
		return nil, &reason{fmt.Sprintf("certificate of %s is signed by an authority this host does not know (add it to the system's store, or name a CA file)", x.peer), err}
	case errors.As(err, &name):
		return nil, &reason{fmt.Sprintf("certificate of %s: %v", x.peer, name), err}
	case errors.As(err, &invalid):
		return nil, &reason{fmt.Sprintf("certificate of %s: %s", x.peer, strings.TrimPrefix(invalid.Error(), "x509: ")), err}
	case errors.As(err, &record):
		return nil, &reason{x.peer + " does not speak TLS", err}
	}
	return nil, x.failed("TLS handshake", err)
}
