"""What the project claims about its speed and weight, as commands: `python -m benchmarks` lists them.

The bridge under test runs in a process of its own on one core, the callers on another one. Everything that is compared
is measured in the same run. All traffic stays on the loopback interface, and every run is bounded in time.
"""
