package engine

import (
	"fmt"
	"testing"

	"cowhand/dmcore"
)

// BenchmarkActivate makes and removes one more device beside n others, through
// the socket and with the memory written.
func BenchmarkActivate(b *testing.B) {
	for _, n := range []int{10, 300, 3000} {
		b.Run(fmt.Sprintf("devices=%d", n), func(b *testing.B) {
			e := run(b, Config{})
			conn := e.dial()
			c := dmcore.NewClient(conn)
			zero := dmcore.Table{{Length: 8, Target: dmcore.Zero{}}}
			for i := range n {
				create(b, conn, fmt.Sprintf("lv%d", i), zero)
			}
			for b.Loop() {
				create(b, conn, "more", zero)
				if err := c.Remove(b.Context(), uuid("more")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
