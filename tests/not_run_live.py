"""What `docs/compatibility.md` says of providers that no account was there to call for."""

SECTION = """
## What was not run against the vendor

Nothing on this page was run against a vendor's live service. What vendors send is known from
recorded exchanges, which the tests decode with each vendor's own SDK as the judge, from the
documented formats, and from the simulator, which refuses what the vendors document to refuse. Of
these, fewer proofs exist:

- **Cohere** (`api = "cohere"`): a few recorded chats and one recorded error are read by tests;
  its embeddings and its requests follow the documented format alone. The simulator does not speak
  it.
- **Amazon Bedrock** (`api = "bedrock"`): no recorded traffic was available. Requests, answers,
  its binary event stream and its errors follow the documented formats; signatures are checked
  against AWS's published vectors. The simulator does not speak it. Embeddings and token counts
  are not there.
- **Vertex AI** (`api = "vertex"`): addresses, headers and body fields are as documented and as
  the vendors' SDKs send them; the dialects are those proven for Gemini and Anthropic. Embeddings
  are not there.
- **Credentials that renew themselves** (Entra clients and managed identities, Google service
  accounts and the metadata server): proven against a token endpoint in memory and on a loopback
  socket, the assertion verified with its public key.
- **Azure OpenAI**: recorded chats and errors; Responses and embeddings follow the documented
  addresses.
"""
