// Command lvsctl-check-oracle asks an Oracle database whether it is well.
//
// lvsctl runs it for every check of service=oracle. It reads one question as
// JSON from its input (check.OracleQuestion), prints what is wrong, if
// anything, and exits with 0 (well), 1 (not well) or 2 (not asked properly).
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	ora "github.com/sijms/go-ora/v2"

	"github.com/lvsctl/lvsctl/ldirector/check"
)

const usage = `usage: lvsctl-check-oracle < question.json

The question is an object with addr ("10.0.0.2:1521"), login, password, sid,
query and timeout (milliseconds). lvsctl runs this program by itself.
`

func main() {
	var q check.OracleQuestion
	err := json.NewDecoder(io.LimitReader(os.Stdin, 64<<10)).Decode(&q)
	if err != nil || !q.Addr.IsValid() || q.Timeout <= 0 || len(os.Args) > 1 {
		fmt.Fprint(os.Stderr, usage)
		if err != nil {
			fmt.Fprintln(os.Stderr, "the question:", err)
		}
		os.Exit(2)
	}
	limit := time.Duration(q.Timeout) * time.Millisecond
	if err := askWithin(limit, q); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// askWithin asks and gives up at the limit, whatever the driver does: it does
// not obey its context everywhere, during login for one. Then it goes on alone
// until the program ends, which is at once.
func askWithin(limit time.Duration, q check.OracleQuestion) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	answer := make(chan error, 1)
	go func() { answer <- ask(ctx, q) }()
	select {
	case err := <-answer:
		if err == nil || ctx.Err() == nil { // past the limit the driver only says that its connection is closed
			return err
		}
	case <-ctx.Done():
	}
	return fmt.Errorf("no answer from %s within %v", q.Addr, limit)
}

// ask runs the query and wants a row. The driver panics over some answers that
// no database gives; that is the server's fault, and not one of the asking.
func ask(ctx context.Context, q check.OracleQuestion) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s does not answer as an Oracle database does (%v)", q.Addr, r)
		}
	}()
	url := ora.BuildUrl(q.Addr.Addr().String(), int(q.Addr.Port()), "", q.Login, q.Password, map[string]string{"SID": q.SID})
	db, err := sql.Open("oracle", url)
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", q.Addr, err)
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, q.Query)
	if err != nil {
		return fmt.Errorf("no result of the query from %s: %w", q.Addr, err)
	}
	defer rows.Close()
	if rows.Next() {
		return nil
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("no result of the query from %s: %w", q.Addr, err)
	}
	return fmt.Errorf("the query gives no row at %s", q.Addr)
}
