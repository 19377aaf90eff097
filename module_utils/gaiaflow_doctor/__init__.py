"""The doctor's checks: each looks for one trouble, explains it, and may know how to mend it."""
