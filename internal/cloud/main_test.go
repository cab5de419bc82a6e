package cloud_test

import (
	"os"
	"testing"

	"github.com/headwater-dev/headwater/internal/testenv"
	"github.com/headwater-dev/headwater/internal/testenv/clouds"
)

var (
	shared   testenv.Shared
	services *clouds.Clouds
)

func TestMain(m *testing.M) {
	os.Exit(clouds.Run(&services, func() int { return shared.Run(m) }))
}
