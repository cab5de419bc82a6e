package cloud_test

import (
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/headwater-dev/headwater/internal/cloud"
)

func TestWordsOfACloudStayTheSame(t *testing.T) {
	g := NewWithT(t)
	one := cloud.Error("aws", errors.New("operation error STS: AssumeRole, https response error StatusCode: 403, RequestID: 1-2-3, api error AccessDenied: no\nmore"))
	g.Expect(one).To(MatchError("provider aws: operation error STS: AssumeRole, https response error StatusCode: 403, api error AccessDenied: no"))
	g.Expect(len(cloud.Error("aws", errors.New(strings.Repeat("x", 1000))).Error())).To(BeNumerically("<", 400))
}
