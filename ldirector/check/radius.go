package check

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"fmt"
	"net/netip"

	"layeh.com/radius"
)

// RADIUS sends an Access-Request with a PAP password and wants Access-Accept.
type RADIUS struct {
	Addr            netip.AddrPort
	Login, Password string
	Secret          string
}

// Attribute numbers of RFC 2865, 2869 and 3162.
const (
	radUserName             radius.Type = 1
	radUserPassword         radius.Type = 2
	radNASIPAddress         radius.Type = 4
	radMessageAuthenticator radius.Type = 80
	radNASIPv6Address       radius.Type = 95
)

// Check implements [Probe].
func (p RADIUS) Check(ctx context.Context, n Net) error {
	x := begin(ctx, p.Addr.String())
	c, err := dial(ctx, n, "udp", x.peer)
	if err != nil {
		return x.failed("connection", err)
	}
	defer c.Close()
	q, err := p.request(c.LocalAddr().String())
	if err != nil {
		return local(err)
	}
	var answer *radius.Packet
	err = c.askAgain(ctx, q, make([]byte, radius.MaxPacketLength), func(got []byte) (bool, error) {
		answer, err = p.read(got, q)
		return answer != nil, err
	})
	if err != nil {
		return x.failed("RADIUS answer", err)
	}
	if answer.Code != radius.CodeAccessAccept {
		return x.wrong("%s answers %v, wanted Access-Accept", x.peer, answer.Code)
	}
	return nil
}

// request builds the packet. It is signed (Message-Authenticator, RFC 2869):
// servers refuse the unsigned kind since the Blast-RADIUS attack.
func (p RADIUS) request(ours string) ([]byte, error) {
	r := radius.New(radius.CodeAccessRequest, []byte(p.Secret))
	r.Add(radMessageAuthenticator, make(radius.Attribute, md5.Size))
	name, err := radius.NewString(p.Login)
	if err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	r.Add(radUserName, name)
	pw, err := radius.NewUserPassword([]byte(p.Password), r.Secret, r.Authenticator[:])
	if err != nil {
		return nil, fmt.Errorf("passwd or secret: %w", err)
	}
	r.Add(radUserPassword, pw)
	if a, err := netip.ParseAddrPort(ours); err == nil {
		nas := radNASIPAddress
		if a.Addr().Unmap().Is6() {
			nas = radNASIPv6Address
		}
		r.Add(nas, a.Addr().Unmap().AsSlice())
	}
	b, err := r.Encode()
	if err != nil {
		return nil, err
	}
	copy(b[22:], sign(b, p.Secret)) // it is the first attribute: 20 + type and length
	return b, nil
}

func sign(packet []byte, secret string) []byte {
	h := hmac.New(md5.New, []byte(secret))
	h.Write(packet)
	return h.Sum(nil)
}

// read takes an answer to request. One that is not signed with our secret may be
// anyone's and is passed over (nil), as RFC 2865 wants.
func (p RADIUS) read(got, request []byte) (*radius.Packet, error) {
	a, err := radius.Parse(got, []byte(p.Secret))
	if err != nil || a.Identifier != request[1] || !radius.IsAuthenticResponse(got, request, []byte(p.Secret)) {
		return nil, nil
	}
	if mac := a.Get(radMessageAuthenticator); mac != nil && !p.signed(got, request, mac) {
		return nil, errors.New("its Message-Authenticator is wrong")
	}
	return a, nil
}

// signed verifies a Message-Authenticator: computed with itself zero and with
// the authenticator of the request.
func (p RADIUS) signed(got, request []byte, mac []byte) bool {
	b := append([]byte(nil), got...)
	copy(b[4:20], request[4:20])
	for i := 20; i+2 <= len(b) && int(b[i+1]) >= 2; i += int(b[i+1]) {
		if radius.Type(b[i]) == radMessageAuthenticator && i+int(b[i+1]) <= len(b) {
			clear(b[i+2 : i+int(b[i+1])])
		}
	}
	return hmac.Equal(mac, sign(b, p.Secret))
}
