package testenv

import (
	"os"
	"testing"
)

var shared = Shared{Options: Options{Name: "shared", ControllerManager: true}}

func TestMain(m *testing.M) {
	if role := os.Getenv(helperVariable); role != "" {
		helper(role)
		return
	}
	os.Exit(shared.Run(m))
}
