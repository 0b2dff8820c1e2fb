package check

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/lib/pq"
)

// SQL is what the three databases have in common: log in, run Query, and be well
// when it yields a row. It is run once; the peer runs it twice by oversight.
type SQL struct {
	Addr                      netip.AddrPort
	Login, Password, Database string
	Query                     string
}

func (p SQL) complete() error {
	if p.Login == "" || p.Query == "" {
		return errors.New("a database check needs login and request (the query)")
	}
	return nil
}

// MySQL checks a MySQL or MariaDB server.
type MySQL struct{ SQL }

// Check implements [Probe].
func (p MySQL) Check(ctx context.Context, n Net) error {
	if err := p.complete(); err != nil {
		return err
	}
	x := begin(ctx, p.Addr.String())
	cfg := mysql.NewConfig()
	cfg.User, cfg.Passwd, cfg.DBName = p.Login, p.Password, p.Database
	cfg.Net, cfg.Addr = "tcp", x.peer
	cfg.Logger = &mysql.NopLogger{}
	cfg.AllowNativePasswords = true
	var c *conn
	cfg.DialFunc = func(_ context.Context, network, address string) (net.Conn, error) {
		var err error
		if c, err = dial(ctx, n, network, address); err != nil {
			return nil, err
		}
		return c, nil
	}
	con, err := mysql.NewConnector(cfg)
	if err != nil {
		return local(err)
	}
	err = p.row(x, con)
	if errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, driver.ErrBadConn) {
		return x.failed("login or row", c.why(errors.Unwrap(err)))
	}
	return err
}

// PgSQL checks a PostgreSQL server. Like the peer's driver it speaks TLS where
// the server offers it, whoever the server is.
type PgSQL struct{ SQL }

// Check implements [Probe].
func (p PgSQL) Check(ctx context.Context, n Net) error {
	if err := p.complete(); err != nil {
		return err
	}
	x := begin(ctx, p.Addr.String())
	con, err := pq.NewConnectorConfig(pq.Config{
		Host: p.Addr.Addr().String(), Port: p.Addr.Port(),
		User: p.Login, Password: p.Password, Database: p.Database,
		ApplicationName: "lvsctl", SSLMode: pq.SSLModeDisable,
	})
	if err != nil {
		return local(err)
	}
	con.Dialer(pgDialer{ctx, n, x})
	return p.row(x, con)
}

// row runs the query. The driver gets a context without end: ours ends the
// connection itself, whereas pq would open another one to say so.
func (p SQL) row(x exchange, con driver.Connector) error {
	ctx := context.Background()
	c, err := con.Connect(ctx)
	if err != nil {
		return x.failed("login", err)
	}
	defer c.Close()
	q, ok := c.(driver.QueryerContext)
	if !ok {
		return local(errors.New("the database driver cannot run a query"))
	}
	rows, err := q.QueryContext(ctx, p.Query, nil)
	if err != nil {
		return x.failed("result of the query", err)
	}
	defer rows.Close()
	err = rows.Next(make([]driver.Value, len(rows.Columns())))
	if errors.Is(err, io.EOF) {
		return x.wrong("the query gives no row at %s", x.peer)
	}
	return x.failed("result of the query", err)
}

// pgDialer opens the connections of pq: TLS if the server has it, and no message
// longer than we care to read.
type pgDialer struct {
	ctx context.Context
	net Net
	x   exchange
}

// Dial implements pq.Dialer, which pq does not call when it can DialContext.
func (d pgDialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(d.ctx, network, address)
}

// DialTimeout implements pq.Dialer.
func (d pgDialer) DialTimeout(network, address string, _ time.Duration) (net.Conn, error) {
	return d.DialContext(d.ctx, network, address)
}

// DialContext implements pq.DialerContext.
func (d pgDialer) DialContext(_ context.Context, network, _ string) (net.Conn, error) {
	c, err := dial(d.ctx, d.net, network, d.x.peer)
	if err != nil {
		return nil, err
	}
	s, err := d.upgrade(c)
	if err != nil {
		c.Close()
		return nil, err
	}
	return &pgFrames{Conn: s}, nil
}

// upgrade asks for TLS, as the protocol has it: a request of eight bytes, an
// answer of one.
func (d pgDialer) upgrade(c *conn) (net.Conn, error) {
	const sslRequest = 80877103
	req := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, sslRequest)
	if _, err := c.Write(req); err != nil {
		return nil, err
	}
	var a [1]byte
	if _, err := io.ReadFull(c, a[:]); err != nil {
		return nil, err
	}
	switch a[0] {
	case 'N':
		return c, nil
	case 'S':
		cfg, err := TLS{}.config(d.x.peer)
		if err != nil {
			return nil, err
		}
		return d.x.overTLS(d.ctx, c, cfg)
	}
	return nil, d.x.wrong("%s does not speak PostgreSQL: it answers with %q", d.x.peer, a[0])
}

// pgFrames watches the lengths of the messages a server sends: pq allocates
// whatever they say, up to 4 GiB.
type pgFrames struct {
	net.Conn
	head [5]byte // type and length of the message that begins
	have int     // how much of it we have
	left int     // what is to come of the message itself
}

func (f *pgFrames) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	for rest := b[:n]; len(rest) > 0; {
		if f.left > 0 {
			k := min(f.left, len(rest))
			f.left -= k
			rest = rest[k:]
			continue
		}
		k := copy(f.head[f.have:], rest)
		f.have += k
		rest = rest[k:]
		if f.have < len(f.head) {
			break
		}
		f.have = 0
		size := binary.BigEndian.Uint32(f.head[1:])
		if size < 4 || size > maxAnswer {
			return 0, fmt.Errorf("a message of %d bytes: that is not PostgreSQL", size)
		}
		f.left = int(size) - 4
	}
	return n, err
}
