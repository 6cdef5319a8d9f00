"""What teaching needs: checks that explain, live labs, pictures, the report of a run. The models live in genmodels."""
