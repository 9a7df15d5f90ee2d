// Command plain_gateway is grpc-gateway as it comes, in front of LOMS: what the
// cost of our gateway is measured against.
package main

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	loms "marketplace/gen/go/marketplace/loms/v1"
)

func main() {
	mux := runtime.NewServeMux()
	dial := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	err := loms.RegisterLomsServiceHandlerFromEndpoint(context.Background(), mux, os.Getenv("GATEWAY_LOMS_ADDRESS"), dial)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(os.Getenv("GATEWAY_LISTEN"), mux))
}
