"""Problems of tens of thousands of nodes whose strategies hold memory over intervals: presolved, priced, searched."""
