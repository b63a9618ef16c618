// The least that any Worker does for a client with a certificate: it reads what it is told, and what it was sent.
export default {
  async fetch(request) {
    const certificate = request.cf?.tlsClientAuth?.certRFC9440;
    const body = await request.arrayBuffer();
    return new Response(`${certificate?.length} ${body.byteLength}`);
  },
};
