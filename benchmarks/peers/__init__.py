"""The same work on this orchestrator, on a loop written by hand, and on other frameworks, side by side.

    python -m benchmarks.peers            (--quick for a look, --growth for 100,000 stored runs)

One run: triage hands over to billing, billing makes two tool calls in one turn over MCP and HTTP, and
answers. The model is a script that answers at once and checks that both results reached it. Every column
runs in a process of its own, against one server; columns take turns, and only ratios count.
"""
