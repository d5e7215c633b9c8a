package engine

import "testing"

func thisBoot(t *testing.T) string {
	t.Helper()
	b, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
