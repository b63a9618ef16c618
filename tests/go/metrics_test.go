package sdk

import (
	"crypto/tls"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/minio/kms-go/kes"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

// The metrics as Prometheus's own parser reads them: it refuses a second HELP or TYPE of a name.
func metricFamilies(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	key, err := kes.ParseAPIKey(setting(t, "SEALEDGE_ADMIN_KEY"))
	ok(t, err)
	certificate, err := kes.GenerateCertificate(key)
	ok(t, err)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{certificate},
	}}}
	defer client.CloseIdleConnections()
	response, err := client.Get(endpoint(t) + "/v1/metrics")
	ok(t, err)
	defer response.Body.Close()
	equal(t, "the status", response.StatusCode, http.StatusOK)
	equal(t, "the format", expfmt.ResponseFormat(response.Header).FormatType(), expfmt.TypeTextPlain)
	families, err := new(expfmt.TextParser).TextToMetricFamilies(response.Body)
	ok(t, err)
	return families
}

func TestMetricsAreWellFormed(t *testing.T) {
	client := admin(t)
	ok(t, client.CreateKey(ctx, "metrics-key"))
	for range 3 {
		_, err := client.GenerateKey(ctx, "metrics-key", nil)
		ok(t, err)
	}
	families := metricFamilies(t)
	histograms, summaries := 0, 0
	for name, family := range families {
		if family.GetHelp() == "" || !strings.HasPrefix(name, "kes_") {
			t.Fatalf("%s has no help or another name", name)
		}
		labelled := strings.HasPrefix(name, "kes_http_request_") && family.GetType() == dto.MetricType_COUNTER
		if len(family.Metric) != 1 && !labelled {
			t.Fatalf("%s has %d values", name, len(family.Metric))
		}
		for _, metric := range family.Metric {
			equal(t, "the labels of "+name, len(metric.Label) == 1, labelled)
			switch family.GetType() {
			case dto.MetricType_HISTOGRAM:
				histograms++
				wellFormed(t, name, metric.GetHistogram())
			case dto.MetricType_SUMMARY:
				summaries++
				equal(t, "the quantiles of "+name, len(metric.GetSummary().Quantile), 0)
			}
		}
	}
	if histograms < 15 || summaries < 11 {
		t.Fatalf("there are %d histograms and %d summaries", histograms, summaries)
	}
	generated := families["kes_api_key_generate_time"].Metric[0].GetHistogram()
	if generated.GetSampleCount() < 3 || generated.GetSampleSum() <= 0 {
		t.Fatalf("generate was counted as %v", generated)
	}
}

// Buckets count all that is in those before them, the last one everything, and the sum is possible.
func wellFormed(t *testing.T, name string, histogram *dto.Histogram) {
	t.Helper()
	bound, count, least := math.Inf(-1), uint64(0), 0.0
	for _, bucket := range histogram.Bucket {
		if bucket.GetUpperBound() <= bound || bucket.GetCumulativeCount() < count {
			t.Fatalf("%s is not cumulative: %v", name, histogram)
		}
		if !math.IsInf(bound, -1) {
			least += float64(bucket.GetCumulativeCount()-count) * bound
		}
		bound, count = bucket.GetUpperBound(), bucket.GetCumulativeCount()
	}
	equal(t, "the last bound of "+name, bound, math.Inf(1))
	equal(t, "the count of "+name, histogram.GetSampleCount(), count)
	if sum := histogram.GetSampleSum(); sum < least*0.999 {
		t.Fatalf("%s has the sum %v and not even %v", name, sum, least)
	}
}
