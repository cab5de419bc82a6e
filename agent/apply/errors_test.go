package apply

import (
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A line without "=" of a decrypted file is a key of the Secret.
func TestErrorsShowNoKeyOfASecret(t *testing.T) {
	for field, want := range map[string]string{
		"data[MIIEvQ+/]":        "data[...] FieldValueInvalid",
		"stringData.MIIEvQ\n+/": "stringData[...] FieldValueInvalid",
		"metadata.labels":       "metadata.labels FieldValueInvalid",
		"data":                  "data FieldValueInvalid",
	} {
		t.Run(field, func(t *testing.T) {
			NewWithT(t).Expect(maskedMessage(metav1.Status{
				Reason:  metav1.StatusReasonInvalid,
				Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Field: field, Type: metav1.CauseTypeFieldValueInvalid}}},
			})).To(Equal(want))
		})
	}
}
