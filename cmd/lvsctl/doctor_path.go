package main

import (
	"context"

	"github.com/lvsctl/lvsctl/doctor"
	"github.com/lvsctl/lvsctl/internal/netif"
)

func follow(context.Context, *netif.Kernel, doctor.Facts, *doctorOptions) ([]doctor.Hop, error) {
	return nil, nil
}
