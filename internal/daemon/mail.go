package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/mail"
	"net/smtp"
	"os"
	"os/user"
	"strings"
	"time"
)

// Mail is a message to be sent.
type Mail struct {
	From    string // as the header has it; empty: this user at this host
	To      []string
	Subject string
	Body    string
	SMTP    string // host, or host:port; empty: the local mailer
}

// Mailer sends mail, one after the other, without anybody waiting for it.
type Mailer struct {
	// Sendmail is the local mailer. Empty: /usr/sbin/sendmail.
	Sendmail string
	// Timeout is for one mail, 0 = 30 s.
	Timeout time.Duration

	queue chan Mail
	say   func(error)
}

const maxMails = 256

// NewMailer reports what went wrong to say, which must not block.
func NewMailer(say func(error)) *Mailer {
	return &Mailer{queue: make(chan Mail, maxMails), say: say}
}

// Send queues a mail and returns at once.
func (m *Mailer) Send(mail Mail) {
	select {
	case m.queue <- mail:
	default:
		m.say(fmt.Errorf("mail %q not sent: %d wait already", mail.Subject, maxMails))
	}
}

// Ready implements [Task].
func (m *Mailer) Ready() <-chan struct{} { return nil }

func (m *Mailer) String() string { return "mailer" }

// Run implements [Task]. When ctx ends, mails that wait are still tried, for as
// long as one mail may take.
func (m *Mailer) Run(ctx context.Context) error {
	for {
		select {
		case next := <-m.queue:
			m.deliver(context.WithoutCancel(ctx), next)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), orDuration(m.Timeout, 30*time.Second))
			defer cancel()
			for last.Err() == nil {
				select {
				case next := <-m.queue:
					m.deliver(last, next)
				default:
					return nil
				}
			}
			return nil
		}
	}
}

func (m *Mailer) deliver(ctx context.Context, next Mail) {
	ctx, cancel := context.WithTimeout(ctx, orDuration(m.Timeout, 30*time.Second))
	defer cancel()
	send := next.local
	if next.SMTP != "" {
		send = next.smtp
	}
	if err := send(ctx, m.Sendmail); err != nil {
		m.say(fmt.Errorf("mail %q not sent: %w", next.Subject, err))
	}
}

// text is the message. Header lines cannot be broken out of.
func (m Mail) text() string {
	var b strings.Builder
	for _, h := range [][2]string{{"From", m.from()}, {"To", strings.Join(m.To, ", ")}, {"Subject", m.Subject}, {"Date", time.Now().Format(time.RFC1123Z)}} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], oneLine(h[1]))
	}
	b.WriteString("\r\n")
	body := strings.ReplaceAll(m.Body, "\r\n", "\n")
	b.WriteString(strings.ReplaceAll(body, "\n", "\r\n"))
	return b.String()
}

func (m Mail) from() string {
	if m.From != "" {
		return m.From
	}
	return localUser() + "@" + hostname()
}

func localUser() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "root"
}

func hostname() string {
	if h, err := os.Hostname(); err == nil {
		return h
	}
	return "localhost"
}

// sender is the address in the envelope.
func (m Mail) sender() string {
	if a, err := mail.ParseAddress(m.from()); err == nil {
		return a.Address
	}
	return m.from()
}

func (m Mail) smtp(ctx context.Context, _ string) error {
	addr := m.SMTP
	if _, _, err := net.SplitHostPort(addr); err != nil {
		addr = net.JoinHostPort(strings.Trim(addr, "[]"), "25")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	// A server that never ends its line must not fill our memory.
	c, err := smtp.NewClient(&bounded{conn, 1 << 20}, addr)
	if err != nil {
		return err
	}
	return m.converse(c)
}

func (m Mail) converse(c *smtp.Client) error {
	if err := c.Hello(hostname()); err != nil {
		return err
	}
	if err := c.Mail(m.sender()); err != nil {
		return err
	}
	for _, to := range m.To {
		if err := c.Rcpt(to); err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, m.text()); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // the mail is accepted; how the server says goodbye is its business
	return nil
}

// bounded is a connection from which no more than left bytes are read.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("the mail server says too much")
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (m Mail) local(ctx context.Context, sendmail string) error {
	if sendmail == "" {
		sendmail = "/usr/sbin/sendmail"
	}
	timeout := 30 * time.Second
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline)
	}
	argv := append([]string{sendmail, "-oi", "-f", m.sender(), "--"}, m.To...)
	c := Command{Name: "sendmail", Argv: argv, Timeout: timeout, stdin: strings.ReplaceAll(m.text(), "\r\n", "\n")}
	return c.run(ctx)
}
