package check

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

var ftpWords = map[string]string{
	"USER": "331 password", "PASS p": "230 in", "PASS": "530 denied", "CWD": "250 ok", "TYPE": "200 ok", "QUIT": "221 bye",
	"PORT": "500 no", "PASV": "500 no",
}

// ldapServer knows one entry and takes any bind, or answers it with code.
func ldapServer(base string, code byte) func(net.Conn) {
	return func(c net.Conn) {
		in := bufio.NewReader(c)
		for {
			_, msg, err := readBER(in)
			if err != nil {
				return
			}
			_, id, rest, _ := berField(msg)
			tag, body, _, _ := berField(rest)
			result := func(tag, code byte) []byte {
				return ldapMessage(id[0], ber(tag, ber(10, []byte{code}), ber(4), ber(4, []byte("because"))))
			}
			switch tag {
			case 0x60:
				c.Write(result(0x61, code))
			case 0x63:
				_, dn, _, _ := berField(body)
				if string(dn) != base {
					c.Write(result(0x65, 32))
					continue
				}
				c.Write(ldapMessage(id[0], ber(0x64, ber(4, dn), ber(0x30))))
				c.Write(result(0x65, 0))
			default:
				return
			}
		}
	}
}

// pgServer lets everyone in and answers any query with so many rows.
func pgServer(rows int) func(net.Conn) {
	return func(c net.Conn) {
		msg := func(t byte, body string) {
			c.Write(append(binary.BigEndian.AppendUint32([]byte{t}, uint32(len(body)+4)), body...))
		}
		head := make([]byte, 8)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		c.Write([]byte("N"))
		if _, err := io.ReadFull(c, head[:4]); err != nil {
			return
		}
		io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head))-4)
		msg('R', "\x00\x00\x00\x00")
		msg('Z', "I")
		for {
			if _, err := io.ReadFull(c, head[:5]); err != nil {
				return
			}
			io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[1:]))-4)
			if head[0] == 'X' {
				return
			}
			msg('T', "\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00")
			for range rows {
				msg('D', "\x00\x01\x00\x00\x00\x011")
			}
			msg('C', "SELECT 1\x00")
			msg('Z', "I")
		}
	}
}

// dnsAnswer knows www.lab (A 192.0.2.5), six.lab (AAAA 2001:db8::5),
// 5.2.0.192.in-addr.arpa (www.lab), alias.lab (CNAME of www.lab), and
// refused.lab.
func dnsAnswer(q []byte, udp bool) []byte {
	var m dnsmessage.Message
	if m.Unpack(q) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response = true
	name, typ := m.Questions[0].Name.String(), m.Questions[0].Type
	add := func(n string, b dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(n), Class: dnsmessage.ClassINET}, Body: b,
		})
	}
	a := &dnsmessage.AResource{A: [4]byte{192, 0, 2, 5}}
	switch strings.ToLower(name) {
	case "www.lab.":
		if typ == dnsmessage.TypeA {
			add(name, a)
		}
	case "alias.lab.":
		add(name, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("www.lab.")})
		add("www.lab.", a)
	case "six.lab.":
		if typ == dnsmessage.TypeAAAA {
			add(name, &dnsmessage.AAAAResource{AAAA: [16]byte{0x20, 1, 0xd, 0xb8, 15: 5}})
		}
	case "5.2.0.192.in-addr.arpa.":
		add(name, &dnsmessage.PTRResource{PTR: dnsmessage.MustNewName("www.lab.")})
	case "big.lab.":
		if m.Truncated = udp; !udp {
			add(name, a)
		}
	case "refused.lab.":
		m.RCode = dnsmessage.RCodeRefused
	default:
		m.RCode = dnsmessage.RCodeNameError
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

func dnsOverTCP(c net.Conn) {
	var n [2]byte
	if _, err := io.ReadFull(c, n[:]); err != nil {
		return
	}
	q := make([]byte, binary.BigEndian.Uint16(n[:]))
	if _, err := io.ReadFull(c, q); err != nil {
		return
	}
	a := dnsAnswer(q, false)
	c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
}
