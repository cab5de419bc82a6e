package testenv

import (
	"os"
	"testing"
)

var shared = Shared{Options: Options{Name: "shared", ControllerManager: true}}

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }
