"""The doctor's checks: each looks for one trouble and explains it; role doctor repairs it."""
